"""Scale-invariant sum.

The baseline "SI" of Navon et al., "Multi-Task Learning as a Bargaining Game", ICML 2022; the
log-transform of Lin et al., "Dual-Balancing for Multi-Task Learning", 2023.
https://arxiv.org/abs/2202.01017
"""

from torch import Tensor
from typing_extensions import override

from polytask.balancing.base import LossBalancer, balancers
from polytask.balancing.losses import is_positive


@balancers.register("log")
class Log(LossBalancer):
    """Sums the logarithms of the losses, so that their scales do not matter.

    Deviation: a task whose loss is at most 1e-12 is left out of that step.
    """

    @override
    def objective(self, losses_t: Tensor) -> Tensor:
        return losses_t[is_positive(losses_t)].log().sum()
