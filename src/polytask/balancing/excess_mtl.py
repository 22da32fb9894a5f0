"""Multi-task learning with excess risks.

He et al., "Robust Multi-Task Learning with Excess Risks", ICML 2024, equations 6, 7 and 9.
https://arxiv.org/abs/2402.02009
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import NonNegativeFloat
from torch import Tensor
from typing_extensions import override

from polytask.balancing.base import JacobianBalancer, balancers
from polytask.balancing.state import TaskAverage

_EPSILON = 1e-7


def excess_risks(jacobian_tP: Tensor, squares_tP: Tensor) -> Tensor:
    """Return second-order estimates of the excess risks, from accumulated squared gradients."""
    return (jacobian_tP.square() / (squares_tP + _EPSILON).sqrt()).sum(1)


def multiply_weights(logits_t: Tensor, gain_t: Tensor) -> Tensor:
    """Multiply the weights exp(logits) by exp(gain); their sum stays the same."""
    return (logits_t + gain_t).log_softmax(0) + logits_t.logsumexp(0)


@balancers.register("excess_mtl")
class ExcessMTL(JacobianBalancer):
    """Gives more weight to tasks that are further from the best they can reach.

    The weights sum to the number of tasks present; in the paper they sum to one. Risks are
    relative to a task's first step, as in the authors' code, and begin to count with its second;
    the paper takes an average over the first epochs.

    :param step_size: Rate of the weights.
    """

    logits_T: Tensor
    baseline_T: Tensor

    def __init__(
        self, num_tasks: int, /, *, step_size: NonNegativeFloat = 0.01, **options: Any
    ) -> None:
        super().__init__(num_tasks, **options)
        self.step_size = step_size
        self.squares = TaskAverage(num_tasks)
        self.register_buffer("logits_T", torch.zeros(num_tasks))
        self.register_buffer("baseline_T", torch.zeros(num_tasks))

    @override
    def combine(self, jacobian_tP: Tensor) -> Tensor:
        mean_tP = self.squares.update(
            jacobian_tP.square(), self.active_t, lambda count_t: 1 / count_t
        )
        count_t = self.squares.count_T[self.active_t]
        risk_t = excess_risks(jacobian_tP, mean_tP * count_t.to(mean_tP).unsqueeze(1))
        logits_t = self._update(risk_t.to(self.logits_T), count_t == 1)
        weights_t = len(logits_t) * logits_t.softmax(0)
        return weights_t.to(jacobian_tP) @ jacobian_tP

    def _update(self, risk_t: Tensor, first_t: Tensor) -> Tensor:
        baseline_t = torch.where(first_t, risk_t, self.baseline_T[self.active_t])
        relative_t = torch.where(first_t, 0.0, risk_t / (baseline_t + _EPSILON))
        logits_t = multiply_weights(self.logits_T[self.active_t], self.step_size * relative_t)
        self.baseline_T[self.active_t] = baseline_t
        self.logits_T[self.active_t] = logits_t
        return logits_t
