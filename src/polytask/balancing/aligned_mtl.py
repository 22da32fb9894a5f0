"""Independent component alignment.

Senushkin, Patakin, Kuznetsov and Konushin, "Independent Component Alignment for Multi-Task
Learning", CVPR 2023, algorithm 1. https://arxiv.org/abs/2305.19000
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from typing_extensions import override

from polytask.balancing.base import GramianBalancer, balancers
from polytask.balancing.solvers import compute_cosines, eigenvalue_floor

Scale = Literal["min", "median", "rmse"]


@balancers.register("aligned_mtl")
class AlignedMTL(GramianBalancer):
    """Makes the principal components of the gradients equally long before adding up.

    Deviation: the rank is computed from unit gradients, so that a short gradient does not count as
    dependent.

    :param scale: Length of the components: the shortest (the paper), the median or the root mean
        square (its published code).
    """

    def __init__(self, num_tasks: int, /, *, scale: Scale = "min", **options: Any) -> None:
        super().__init__(num_tasks, **options)
        self.scale = scale

    @override
    def weights(self, gramian_TT: Tensor) -> Tensor:
        return align(gramian_TT, self.scale).to(gramian_TT)


def align(gramian_tt: Tensor, scale: Scale) -> Tensor:
    """Return the row sums of s · G^(-1/2) on the range of G, with s the length of the components."""
    rank = int(
        (torch.linalg.eigvalsh(compute_cosines(gramian_tt)[0]) > eigenvalue_floor(gramian_tt)).sum()
    )
    squares_t, vectors_tt = torch.linalg.eigh(gramian_tt.detach().to("cpu", torch.float64))
    squares_r, vectors_tr = squares_t.flip(0)[:rank], vectors_tt.flip(1)[:, :rank]
    # Smaller eigenvalues are rounding errors, even if the directions are independent.
    precise_r = squares_r > squares_r.new_tensor(1e-15) * squares_t.max()
    squares_r, vectors_tr = squares_r[precise_r], vectors_tr[:, precise_r]
    if not len(squares_r):
        return torch.ones_like(squares_t)
    square = {"min": squares_r.min(), "median": squares_r.median(), "rmse": squares_r.mean()}[scale]
    weights_t: Tensor = vectors_tr @ ((square / squares_r).sqrt() * vectors_tr.sum(0))
    return weights_t
