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
    def combine(self, jacobian_TP: Tensor) -> Tensor:
        purity_P = 0.5 * (1 + jacobian_TP.sum(0) / jacobian_TP.abs().sum(0).clamp(min=1e-12))
        positive_P = purity_P > torch.rand_like(purity_P)
        return torch.where((jacobian_TP > 0) == positive_P, jacobian_TP, 0).sum(0)
