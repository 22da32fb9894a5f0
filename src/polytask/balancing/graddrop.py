"""Gradient sign dropout.

Chen et al., "Just Pick a Sign: Optimizing Deep Multitask Models with Gradient Sign Dropout",
NeurIPS 2020, algorithm 1. https://arxiv.org/abs/2010.06808
"""

import torch
from torch import Tensor
from typing_extensions import override

from polytask.balancing.base import JacobianBalancer, balancers


@balancers.register("graddrop")
class GradDrop(JacobianBalancer):
    """Keeps, per coordinate, only gradients of one sign, chosen by how much they agree.

    Deviation: signs are chosen per shared parameter, not per feature of the last shared layer.
    """

    @override
    def combine(self, jacobian_tP: Tensor) -> Tensor:
        size_P = jacobian_tP.abs().sum(0)
        agreement_P = jacobian_tP.sum(0) / size_P.where(size_P > 0, 1)
        positive_P = (1 + agreement_P) / 2 > torch.rand(len(size_P)).to(size_P)
        return torch.where((jacobian_tP > 0) == positive_P, jacobian_tP, 0).sum(0)
