"""Multi-objective gradient correction.

Fernando et al., "Mitigating Gradient Bias in Multi-objective Learning: A Provably Convergent
Approach", ICLR 2023, algorithm 1. https://arxiv.org/abs/2210.12624
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import NonNegativeFloat
from torch import Tensor
from typing_extensions import override

from polytask.balancing.base import JacobianBalancer, balancers
from polytask.balancing.simplex import move_on_simplex, project_to_simplex
from polytask.balancing.state import TaskAverage


def descend(weights_t: Tensor, gramian_tt: Tensor, rate_t: Tensor, rho: float) -> Tensor:
    """Make one projected step towards the regularised combination of least norm."""
    slope_t = gramian_tt @ weights_t + rho * weights_t
    return project_to_simplex(weights_t - rate_t * slope_t)


@balancers.register("moco")
class MoCo(JacobianBalancer):
    """Tracks each task's gradient over steps and follows their combination of least norm.

    The weights sum to the number of tasks present; in the paper they sum to one. Both rates fall
    with the square root of the number of steps, counted for each task, as in the authors'
    experiments. Deviation: tracking starts at a task's first gradient, not at zero.

    :param beta: How fast the tracked gradients follow the new ones, at first.
    :param gamma: Rate of the weights, at first.
    :param rho: Regularisation of the weights towards equal ones.
    """

    weights_T: Tensor

    def __init__(
        self,
        num_tasks: int,
        /,
        *,
        beta: NonNegativeFloat = 0.5,
        gamma: NonNegativeFloat = 0.1,
        rho: NonNegativeFloat = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(num_tasks, **options)
        self.beta, self.gamma, self.rho = beta, gamma, rho
        self.tracked = TaskAverage(num_tasks)
        self.register_buffer("weights_T", torch.full((num_tasks,), 1 / num_tasks))

    @override
    def combine(self, jacobian_tP: Tensor) -> Tensor:
        active_t = self.active_t
        tracked_tP = self.tracked.update(
            jacobian_tP, active_t, lambda count_t: self.beta * count_t.rsqrt()
        )
        gramian_tt = (tracked_tP @ tracked_tP.T).to("cpu", torch.float64)
        rate_t = self.gamma * self.tracked.count_T[active_t].to(gramian_tt).rsqrt()
        weights_t = move_on_simplex(
            self.weights_T, active_t, lambda point_t: descend(point_t, gramian_tt, rate_t, self.rho)
        )
        return (len(weights_t) * weights_t.to(tracked_tP) @ tracked_tP).to(jacobian_tP)
