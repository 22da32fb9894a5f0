"""Dual balancing.

Lin et al., "Dual-Balancing for Multi-Task Learning", 2023, algorithm 1.
https://arxiv.org/abs/2308.12029
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from polytask.balancing.balancer import Share
from polytask.balancing.base import JacobianBalancer, balancers
from polytask.balancing.state import TaskAverage

_SMALLEST_LOSS = 1e-8


def sum_at_largest_norm(rows_tP: Tensor) -> Tensor:
    """Return the sum of the rows, each scaled to the largest norm; zero rows add nothing."""
    norm_t: Tensor = torch.linalg.vector_norm(rows_tP, dim=1, dtype=torch.float64)
    scale_t = norm_t.max() / norm_t.where(norm_t > 0, torch.inf)
    return scale_t.to(rows_tP) @ rows_tP


@balancers.register("db_mtl")
class DualBalancing(JacobianBalancer):
    """Takes logarithms of the losses and brings all their gradients to the largest norm.

    The gradient of log L is the gradient of L divided by L; losses below 1e-8 count as 1e-8.
    Deviation: averages start at a task's first gradient, not at zero.

    :param beta: Share of the average of past gradients that is kept at each step.
    """

    def __init__(self, num_tasks: int, /, *, beta: Share = 0.9, **options: Any) -> None:
        super().__init__(num_tasks, **options)
        self.beta = beta
        self.average = TaskAverage(num_tasks)

    @override
    def combine(self, jacobian_tP: Tensor) -> Tensor:
        losses_t = self.losses_t.to(jacobian_tP).clamp(min=_SMALLEST_LOSS)
        average_tP = self.average.update(
            jacobian_tP / losses_t.unsqueeze(1),
            self.active_t,
            lambda count_t: torch.full_like(count_t, 1 - self.beta),
        )
        return sum_at_largest_norm(average_tP).to(jacobian_tP)
