"""Uncertainty weighting.

Kendall, Gal and Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene
Geometry and Semantics", CVPR 2018, equation 10. https://arxiv.org/abs/1705.07115
Revised by Liebel and Körner, "Auxiliary Tasks in Multi-task Learning", 2018.
https://arxiv.org/abs/1805.06334
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from typing_extensions import override

from polytask.balancing.base import LossBalancer, balancers


@balancers.register("uncertainty")
class Uncertainty(LossBalancer):
    """Learns one log-variance per task and divides its loss by the variance.

    Deviation: one form, exp(-s)·L/2 + s/2, serves every task type; Kendall et al. use exp(-s)·L
    for classification.

    :param initial: Log-variance that every task starts from.
    :param revised: Replace s/2 by log(1 + exp(s)) of Liebel and Körner, which keeps the objective
        from becoming negative.
    """

    def __init__(self, num_tasks: int, /, *, initial: float = 0.0, revised: bool = False) -> None:
        super().__init__(num_tasks)
        self.regulariser = softplus if revised else _half
        self.log_variance_T = nn.Parameter(torch.full((num_tasks,), initial))

    @override
    def objective(self, losses_T: Tensor) -> Tensor:
        log_variance_T = self.log_variance_T[self.active_t]
        scaled_T = losses_T * torch.exp(-log_variance_T) / 2
        return (scaled_T + self.regulariser(log_variance_T)).sum()


def _half(log_variance_T: Tensor) -> Tensor:
    return log_variance_T / 2
