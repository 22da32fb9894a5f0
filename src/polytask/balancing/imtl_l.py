"""Impartial multi-task learning, its loss balance.

Liu et al., "Towards Impartial Multi-task Learning", ICLR 2021 (IMTL-L).
https://openreview.net/forum?id=IMPnRXEWpvr
"""

import torch
from torch import Tensor, nn
from typing_extensions import override

from polytask.balancing.base import LossBalancer, balancers


@balancers.register("imtl_l")
class ImpartialLoss(LossBalancer):
    """Learns one scale per task that brings all losses to the same magnitude."""

    def __init__(self, num_tasks: int, /) -> None:
        super().__init__(num_tasks)
        self.log_scale_T = nn.Parameter(torch.zeros(num_tasks))

    @override
    def objective(self, losses_t: Tensor) -> Tensor:
        log_scale_t = self.log_scale_T[self.active_t]
        return (log_scale_t.exp() * losses_t - log_scale_t).sum()
