"""Methods with two independent samples of the gradients, whose products have no bias.

Both methods keep a point of the simplex and move it against the cross products G = J1 @ J2.T. The
update is taken along J1 + J2. Deviation of both: the weights sum to the number of tasks present
instead of one.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor
from typing_extensions import override

from polytask.balancing.base import GramianBalancer, balancers
from polytask.balancing.simplex import move_on_simplex, project_to_simplex


@balancers.register("modo")
class MoDo(GramianBalancer):
    """Moves the weights one step towards MGDA's per update, with two samples of gradients.

    Chen, Fernando, Ying and Chen, "Three-Way Trade-Off in Multi-Objective Learning: Optimization,
    Generalization and Conflict-Avoidance", JMLR 2024, equation 2.9.
    https://www.jmlr.org/papers/v25/23-1287.html

    :param step_size: Step size of the weights; gamma in the paper.
    :param regularisation: Strength of the pull to equal weights; rho in the paper's code.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"halves"})
    shares_T: Tensor

    def __init__(
        self,
        num_tasks: int,
        /,
        *,
        step_size: PositiveFloat = 0.1,
        regularisation: NonNegativeFloat = 0.1,
        **options: Any,
    ) -> None:
        super().__init__(num_tasks, **options)
        self.step_size = step_size
        self.regularisation = regularisation
        self.register_buffer("shares_T", torch.full((num_tasks,), 1 / num_tasks))

    @override
    def weights(self, gramian_TT: Tensor) -> Tensor:
        products_TT = gramian_TT.detach().to("cpu", torch.float64)

        def move(point_T: Tensor) -> Tensor:
            slope_T = products_TT @ point_T + self.regularisation * point_T
            return project_to_simplex(point_T - self.step_size * slope_T)

        point_T = move_on_simplex(self.shares_T, self.active_t, move)
        return (len(point_T) * point_T).to(gramian_TT)


@balancers.register("sdmgrad")
class SDMGrad(GramianBalancer):
    """Mixes the weights of MGDA, found with two samples of gradients, with the plain sum.

    Xiao, Ban and Ji, "Direction-oriented Multi-objective Learning: Simple and Provable Stochastic
    Algorithms", NeurIPS 2023, algorithm 1. https://arxiv.org/abs/2305.18409 Deviations as in
    the authors' code: one pair of samples serves all inner steps, G is divided by the squared mean
    gradient length, and the inner steps have a momentum of 0.5. Further deviations: the update is
    not taken along a third sample, and the inner step size is 0.1. With the authors' 10, descent on
    such a G diverges: the weights jump between corners of the simplex, and rounding decides where
    they end.

    :param preference: Weight of the plain sum; lambda in the paper.
    :param steps: Inner steps per update.
    :param step_size: Step size of the inner steps.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"halves"})
    shares_T: Tensor

    def __init__(
        self,
        num_tasks: int,
        /,
        *,
        preference: NonNegativeFloat = 0.3,
        steps: PositiveInt = 20,
        step_size: PositiveFloat = 0.1,
        **options: Any,
    ) -> None:
        super().__init__(num_tasks, **options)
        self.preference = preference
        self.steps = steps
        self.step_size = step_size
        self.register_buffer("shares_T", torch.full((num_tasks,), 1 / num_tasks))

    @override
    def weights(self, gramian_TT: Tensor) -> Tensor:
        products_TT = _unit_scale(gramian_TT.detach().to("cpu", torch.float64))
        plain = self.preference / len(products_TT)

        def move(point_T: Tensor) -> Tensor:
            velocity_T = torch.zeros_like(point_T)
            for _ in range(self.steps):
                velocity_T = 0.5 * velocity_T + products_TT @ (point_T + plain)
                point_T = project_to_simplex(point_T - self.step_size * velocity_T)
            return point_T

        point_T = move_on_simplex(self.shares_T, self.active_t, move)
        return (len(point_T) * (point_T + plain) / (1 + self.preference)).to(gramian_TT)


def _unit_scale(products_TT: Tensor) -> Tensor:
    """Divide by the squared mean gradient length."""
    # Diagonal entries of cross products may be negative, and the length 0: hence the floor.
    square = products_TT.diagonal().clamp(min=0).sqrt().mean().square()
    floor = (1e-6 * products_TT.abs().max()).clamp(min=torch.finfo(torch.float64).tiny)
    return products_TT / torch.maximum(square, floor)
