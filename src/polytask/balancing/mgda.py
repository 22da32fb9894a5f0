"""Multiple-gradient descent.

Désidéri, "Multiple-gradient descent algorithm (MGDA) for multiobjective optimization", Comptes
Rendus Mathématique 2012; Sener and Koltun, "Multi-Task Learning as Multi-Objective Optimization",
NeurIPS 2018, equation 3. https://arxiv.org/abs/1810.04650
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import PositiveInt
from torch import Tensor
from typing_extensions import override

from polytask.balancing.base import GramianBalancer, balancers
from polytask.balancing.solvers import minimise_nonnegative, regularise_cosines


@balancers.register("mgda")
class MGDA(GramianBalancer):
    """Takes the shortest convex combination of the gradients, which conflicts with none of them.

    Deviations: the weights sum to the number of tasks present instead of one; the minimum is found
    exactly, not by Frank-Wolfe (algorithm 2).
    """

    @override
    def weights(self, gramian_TT: Tensor) -> Tensor:
        return (len(gramian_TT) * min_norm(gramian_TT)).to(gramian_TT)


@balancers.register("psmgd")
class PSMGD(GramianBalancer):
    """Takes the weights of MGDA, and keeps them for a number of steps.

    Xu, Ju, Liu and Yang, "PSMGD: Periodic Stochastic Multi-Gradient Descent for Fast
    Multi-Objective Optimization", AAAI 2025, algorithm 1. https://arxiv.org/abs/2412.10961
    Deviation: the weights sum to the number of tasks present instead of one.

    :param every: Steps from one solution to the next.
    """

    def __init__(self, num_tasks: int, /, *, every: PositiveInt = 4, **options: Any) -> None:
        super().__init__(num_tasks, every=every, **options)

    @override
    def weights(self, gramian_TT: Tensor) -> Tensor:
        return (len(gramian_TT) * min_norm(gramian_TT)).to(gramian_TT)


def min_norm(gramian_tt: Tensor) -> Tensor:
    """Return the point of the simplex whose combination of the gradients is shortest.

    With x ≥ 0 instead of the simplex and (1ᵀx - 1)² added to xᵀGx, the minimiser is the same up to
    a factor, and only its signs are constrained.
    """
    cosines_tt, norms_t = regularise_cosines(gramian_tt)
    shortness_t = torch.where(norms_t > 0, norms_t.min() / norms_t, 1.0)
    matrix_tt = cosines_tt + shortness_t[:, None] * shortness_t
    values_t = minimise_nonnegative(matrix_tt, -shortness_t[None])[0] * shortness_t
    return values_t / values_t.sum()
