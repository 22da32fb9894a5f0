"""Random loss weighting.

Lin et al., "Reasonable Effectiveness of Random Weighting: A Litmus Test for Multi-Task Learning",
TMLR 2022, algorithm 1 (normal distribution, softmax). https://arxiv.org/abs/2111.10603
"""

import torch
from torch import Tensor
from typing_extensions import override

from polytask.balancing.base import LossBalancer, balancers


@balancers.register("random")
class Random(LossBalancer):
    """Weighs the losses by the softmax of normal noise, drawn for every step.

    All T tasks take part in the draw, so that a task has the same weight in every batch of a step.
    Deviation: the weights of all tasks sum to T, as in a plain sum, instead of one.
    """

    @override
    def objective(self, losses_t: Tensor) -> Tensor:
        weights_T = self.num_tasks * torch.randn(self.num_tasks).softmax(0)
        return (weights_T[self.active_t].to(losses_t) * losses_t).sum()
