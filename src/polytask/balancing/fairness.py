"""Weights that share the progress of a step fairly among the tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pydantic import PositiveFloat
from torch import Tensor
from typing_extensions import override

from polytask.balancing.base import GramianBalancer, balancers
from polytask.balancing.solvers import invert, regularise_cosines


@balancers.register("nash_mtl")
class NashMTL(GramianBalancer):
    """Takes the Nash bargain: no other update brings more relative progress, summed over tasks.

    Navon et al., "Multi-Task Learning as a Bargaining Game", ICML 2022, claim 3.1 and algorithm 1.
    https://arxiv.org/abs/2202.01017 The length of the update is the square root of the number of
    tasks, whatever the gradients. Deviation: G w = 1/w is solved by Newton's method, not by a
    sequence of convex programs.
    """

    @override
    def weights(self, gramian_TT: Tensor) -> Tensor:
        return fair_weights(gramian_TT, alpha=1.0).to(gramian_TT)


@balancers.register("fairgrad")
class FairGrad(GramianBalancer):
    """Shares the progress of a step among the tasks by alpha-fairness.

    Ban and Ji, "Fair Resource Allocation in Multi-Task Learning", ICML 2024, equation 4 and
    algorithm 1. https://arxiv.org/abs/2402.15638 Deviation: G w = w^(-1/alpha) is solved by
    Newton's method, not by nonlinear least squares.

    :param alpha: Towards 0 the plain sum, 1 proportional fairness (Nash-MTL); the higher, the more
        the worst-off task counts.
    """

    def __init__(self, num_tasks: int, /, *, alpha: PositiveFloat = 2.0, **options: Any) -> None:
        super().__init__(num_tasks, **options)
        self.alpha = alpha

    @override
    def weights(self, gramian_TT: Tensor) -> Tensor:
        return fair_weights(gramian_TT, self.alpha).to(gramian_TT)


def fair_weights(gramian_tt: Tensor, alpha: float) -> Tensor:
    """Return the w > 0 with (G w)_i = w_i^(-1/alpha); 0 for a gradient of zero.

    It minimises the strictly convex wᵀGw/2 - Σ w_i^(1-1/alpha) / (1-1/alpha), with log w_i for
    alpha = 1. Damped Newton's method starts from the solution for orthogonal gradients; the unknown
    is the quotient u of both solutions, which starts at one.
    """
    cosines_tt, norms_t = regularise_cosines(gramian_tt)
    power = 1 / alpha
    start_t = invert(norms_t ** (2 / (1 + power)))
    scale_t = norms_t * start_t
    scale_t = scale_t / scale_t.max().clamp(min=torch.finfo(torch.float64).tiny)

    def slope(u_t: Tensor) -> Tensor:
        return cosines_tt @ (scale_t * u_t) - scale_t * u_t**-power

    u_t = torch.ones_like(norms_t)
    for _ in range(100):
        curvature_tt = cosines_tt + torch.diag(power * u_t ** (-power - 1))
        step_t = -torch.linalg.solve(curvature_tt, slope(u_t)) * invert(scale_t)
        u_t = u_t + _damp_step(slope, scale_t, u_t, step_t) * step_t
        if (step_t / u_t).abs().max() < 1e-9:
            break
    return start_t * u_t


def _damp_step(
    slope: Callable[[Tensor], Tensor], scale_t: Tensor, u_t: Tensor, step_t: Tensor
) -> float:
    """Return a share of Newton's step that keeps u positive and stays near the minimum."""
    descent = -slope(u_t) @ (scale_t * step_t)
    size = min(1.0, 0.9 / float((-step_t / u_t).max().clamp(min=1e-3)))
    while size > 1e-6 and slope(u_t + size * step_t) @ (scale_t * step_t) > 0.5 * descent:
        size /= 2
    return size
