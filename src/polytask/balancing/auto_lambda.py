"""Task weights learned from validation losses.

Liu et al., "Auto-Lambda: Disentangling Dynamic Task Relationships", TMLR 2022.
https://arxiv.org/abs/2202.03091
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import NonNegativeFloat
from torch import Tensor
from typing_extensions import override

from polytask.balancing.base import GramianBalancer, balancers
from polytask.balancing.state import TaskAverage, make_unbiased_rate

_INITIAL = 0.1
_EPSILON = 1e-8


def validation_gain(gramian_ss: Tensor) -> Tensor:
    """Return how fast a step along each training gradient lowers the sum of validation losses.

    The paper computes a mixed second derivative by finite differences. The training loss is linear
    in the task weights, so this derivative is the training gradients themselves.

    :param gramian_ss: Inner products of t training gradients, followed by t validation gradients.
    """
    num_tasks = len(gramian_ss) // 2
    return gramian_ss[:num_tasks, num_tasks:].sum(1)


@balancers.register("auto_lambda")
class AutoLambda(GramianBalancer):
    """Learns task weights that lower the validation losses one step ahead.

    The weights start at 0.1 and are learned by Adam, as in the paper; what is returned is scaled
    to sum to the number of tasks present. Deviations: validation gradients are taken before the
    step and not after it, which differs by second order of the learning rate; weights are not
    allowed below zero; all tasks are primary.

    :param rate: Learning rate of the weights.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"validation"})
    lambda_T: Tensor

    def __init__(self, num_tasks: int, /, *, rate: NonNegativeFloat = 1e-4, **options: Any) -> None:
        super().__init__(num_tasks, **options)
        self.rate = rate
        self.register_buffer("lambda_T", torch.full((num_tasks,), _INITIAL))
        self.gain = TaskAverage(num_tasks)
        self.square = TaskAverage(num_tasks)

    @override
    def weights(self, gramian_tt: Tensor) -> Tensor:
        lambda_t = self._learn(validation_gain(gramian_tt.double()))
        if not lambda_t.any():
            return torch.ones_like(lambda_t).to(gramian_tt)
        return (len(lambda_t) * lambda_t / lambda_t.sum()).to(gramian_tt)

    def _learn(self, gain_t: Tensor) -> Tensor:
        """Make one step of Adam for the tasks present; return lambda_t."""
        gain_t1 = gain_t.unsqueeze(1)
        mean_t1 = self.gain.update(gain_t1, self.active_t, make_unbiased_rate(0.9))
        root_t1 = self.square.update(
            gain_t1.square(), self.active_t, make_unbiased_rate(0.999)
        ).sqrt()
        step_t = (mean_t1 / (root_t1 + _EPSILON)).squeeze(1).to(self.lambda_T)
        lambda_t = (self.lambda_T[self.active_t] + self.rate * step_t).clamp(min=0)
        self.lambda_T[self.active_t] = lambda_t
        return lambda_t
