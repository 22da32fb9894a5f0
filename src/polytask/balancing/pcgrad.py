"""Gradient surgery.

Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020, algorithm 1.
https://arxiv.org/abs/2001.06782
"""

import torch
from torch import Tensor
from typing_extensions import override

from polytask.balancing.base import GramianBalancer, balancers


@balancers.register("pcgrad")
class PCGrad(GramianBalancer):
    """Projects each task gradient off every other gradient that it conflicts with."""

    @override
    def weights(self, gramian_TT: Tensor) -> Tensor:
        projected_TT = torch.eye(len(gramian_TT), dtype=gramian_TT.dtype, device=gramian_TT.device)
        for task, row_T in enumerate(projected_TT):
            for other in torch.randperm(len(gramian_TT)).tolist():
                overlap = gramian_TT[other] @ row_T
                if other != task and overlap < 0:
                    row_T[other] -= overlap / gramian_TT[other, other]
        return projected_TT.sum(0)
