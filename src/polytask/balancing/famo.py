"""Fast adaptive multitask optimisation.

Liu et al., "FAMO: Fast Adaptive Multitask Optimization", NeurIPS 2023, algorithm 1.
https://arxiv.org/abs/2306.03792
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor
from typing_extensions import override

from polytask.balancing.base import LossBalancer, balancers
from polytask.balancing.losses import EPSILON, is_positive

BETA_1, BETA_2 = 0.9, 0.999
"""The decay rates of Adam."""


@balancers.register("famo")
class FAMO(LossBalancer):
    """Lowers all losses at the same rate, learning weights from how much each of them fell.

    Deviations: the weights of the losses sum to the number of tasks present instead of one; the
    logits are moved by Adam, as in the authors' code, and not by a plain gradient step; a task
    whose loss is at most 1e-12 is left out of that step.

    :param learning_rate: Learning rate of the logits.
    :param decay: Weight decay of the logits, gamma in the paper.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"losses_after"})
    logits_T: Tensor
    first_T: Tensor
    second_T: Tensor
    count_T: Tensor

    def __init__(
        self,
        num_tasks: int,
        /,
        *,
        learning_rate: PositiveFloat = 0.025,
        decay: NonNegativeFloat = 0.001,
    ) -> None:
        super().__init__(num_tasks)
        self.learning_rate = learning_rate
        self.decay = decay
        for name in ("logits_T", "first_T", "second_T", "count_T"):
            self.register_buffer(name, torch.zeros(num_tasks))

    @override
    def objective(self, losses_t: Tensor) -> Tensor:
        kept_t = is_positive(losses_t)
        logits_t = self.logits_T[self.active_t][kept_t]
        return famo_weights(losses_t[kept_t].detach(), logits_t) @ losses_t[kept_t]

    @override
    def after(self, losses_t: Tensor, active_t: Tensor) -> None:
        before_T = losses_t.new_zeros(self.num_tasks).index_copy(
            0, self.active_t.to(losses_t.device), self.losses_t.to(losses_t)
        )
        # Tasks whose loss is not finite before or after the update have no rate of decrease.
        compared_t = is_positive(before_T[active_t]) & losses_t.isfinite()
        before_t, after_t = before_T[active_t][compared_t], losses_t[compared_t]
        fell_t = before_t.log() - after_t.clamp(min=EPSILON).log()
        self._move(fell_t, active_t[compared_t.cpu()])

    def _move(self, fell_t: Tensor, tasks_t: Tensor) -> None:
        """Make one step of Adam on the logits of some tasks."""
        logits_t = self.logits_T[tasks_t]
        slope_t = logit_gradient(logits_t, fell_t) + self.decay * logits_t
        count_t = self.count_T[tasks_t] + 1
        first_t = self.first_T[tasks_t].lerp(slope_t, 1 - BETA_1)
        second_t = self.second_T[tasks_t].lerp(slope_t.square(), 1 - BETA_2)
        mean_t = first_t / (1 - BETA_1**count_t)
        size_t = (second_t / (1 - BETA_2**count_t)).sqrt() + 1e-8
        self.logits_T[tasks_t] = logits_t - self.learning_rate * mean_t / size_t
        self.count_T[tasks_t], self.first_T[tasks_t] = count_t, first_t
        self.second_T[tasks_t] = second_t


def famo_weights(losses_t: Tensor, logits_t: Tensor) -> Tensor:
    """Return c · z / loss, with z the softmax of the logits, scaled to sum to the number of tasks."""
    return len(losses_t) * (logits_t - losses_t.log()).softmax(0)


def logit_gradient(logits_t: Tensor, fell_t: Tensor) -> Tensor:
    """Return the gradient of z · fell by the logits; tasks that fell more lose weight."""
    share_t = logits_t.softmax(0)
    return share_t * (fell_t - share_t @ fell_t)
