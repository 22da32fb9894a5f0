"""Uncertainty weighting.

Kendall, Gal and Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene
Geometry and Semantics", CVPR 2018, equation 10. https://arxiv.org/abs/1705.07115
"""

import torch
from torch import Tensor, nn
from typing_extensions import override

from polytask.balancing.base import LossBalancer, balancers


@balancers.register("uncertainty")
class Uncertainty(LossBalancer):
    """Learns one log-variance per task and divides its loss by the variance.

    Deviation: one form, exp(-s)·L/2 + s/2, serves every task type; the paper uses exp(-s)·L for
    classification.

    :param initial: Log-variance that every task starts from.
    """

    def __init__(self, num_tasks: int, /, *, initial: float = 0.0) -> None:
        super().__init__(num_tasks)
        self.log_variance_T = nn.Parameter(torch.full((num_tasks,), initial))

    @override
    def objective(self, losses_T: Tensor) -> Tensor:
        log_variance_T = self.log_variance_T[self.active_t]
        return (losses_T * torch.exp(-log_variance_T) / 2 + log_variance_T / 2).sum()
