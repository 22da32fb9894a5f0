"""Conflict-averse gradient descent.

Liu, Liu, Jin, Stone and Liu, "Conflict-Averse Gradient Descent for Multi-task Learning", NeurIPS
2021, algorithm 1. https://arxiv.org/abs/2110.14048
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from polytask.balancing.base import GramianBalancer, balancers
from polytask.balancing.solvers import invert, minimise_nonnegative, regularise_cosines


@balancers.register("cagrad")
class CAGrad(GramianBalancer):
    """Improves the worst-off task as much as possible within a ball around the plain gradient.

    Deviation: the ball is around the sum of the gradients instead of their mean, which multiplies
    the update by the number of tasks. Gradients of zero do not count as worst off.

    :param c: Radius of the ball over the length of the sum; 0 is the plain sum.
    """

    def __init__(
        self, num_tasks: int, /, *, c: Annotated[float, Field(ge=0, lt=1)] = 0.4, **options: Any
    ) -> None:
        super().__init__(num_tasks, **options)
        self.c = c

    @override
    def weights(self, gramian_TT: Tensor) -> Tensor:
        return conflict_averse(gramian_TT, self.c).to(gramian_TT)


def conflict_averse(gramian_tt: Tensor, c: float) -> Tensor:
    """Return 1 + x, where x ≥ 0 and Jᵀx is the step from the plain gradient to the best point.

    For a level of progress, x = argmin ‖g0 + Jᵀx‖²/2 - level Σx. By the dual in the paper, the best
    level is where the length of Jᵀx equals the radius. The length is a convex function of the level
    with derivative Σx / length, so Newton's method from above finds the level in few steps.
    """
    cosines_tt, norms_t = regularise_cosines(gramian_tt)
    if norms_t.max() == 0:
        return torch.ones_like(norms_t)
    norms_t = norms_t / norms_t.max()
    inverse_t = invert(norms_t)
    overlap_t = cosines_tt @ norms_t
    radius = c * (norms_t @ overlap_t).sqrt()
    level = (1 + c) * (norms_t @ overlap_t).sqrt() / inverse_t.max()
    for _ in range(50):
        x_t = minimise_nonnegative(cosines_tt, (overlap_t - level * inverse_t)[None])[0]
        length = (x_t @ cosines_tt @ x_t).sqrt()
        if length <= (1 + 1e-9) * radius + 1e-12:
            break
        level = level - (length - radius) * length / (inverse_t @ x_t)
    return 1 + (radius * invert(length)).clamp(max=1) * x_t * inverse_t
