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
    """Weighs the losses by the softmax of normal noise, drawn anew for every step.

    The weights sum to the number of tasks present, as those of the plain sum do; in the paper
    they sum to one, which differs by a constant factor of the objective.
    """

    @override
    def objective(self, losses_T: Tensor) -> Tensor:
        noise_T = torch.randn(len(losses_T)).to(losses_T.device)
        return (len(losses_T) * noise_T.softmax(0) * losses_T).sum()
