"""Gradient surgery.

Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020, algorithm 1.
https://arxiv.org/abs/2001.06782
"""

import torch
from torch import Tensor
from typing_extensions import override

from polytask.balancing.base import GramianBalancer, balancers
from polytask.balancing.solvers import compute_cosines, invert


@balancers.register("pcgrad")
class PCGrad(GramianBalancer):
    """Projects each task gradient off every other gradient that it conflicts with."""

    @override
    def weights(self, gramian_TT: Tensor) -> Tensor:
        cosines_TT, norms_T = compute_cosines(gramian_TT)
        order_TT = torch.rand_like(cosines_TT).argsort(1)
        added_TT = project_conflicts(cosines_TT, order_TT)
        return (1 + norms_T @ added_TT * invert(norms_T)).to(gramian_TT)


def project_conflicts(cosines_TT: Tensor, order_TT: Tensor) -> Tensor:
    """Return the changes of each unit gradient, as coefficients of all unit gradients.

    :param order_TT: For each task, the order in which it meets all tasks.
    """
    each_T = torch.arange(len(cosines_TT))
    rows_TT = torch.eye(len(cosines_TT), dtype=cosines_TT.dtype)
    for other_T in order_TT.T:  # all tasks take their k-th projection at once
        overlap_T = (rows_TT * cosines_TT[other_T]).sum(1).clamp(max=0)
        rows_TT[each_T, other_T] -= torch.where(other_T == each_T, 0.0, overlap_T)
    return rows_TT - torch.eye(len(cosines_TT), dtype=cosines_TT.dtype)
