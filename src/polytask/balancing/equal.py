"""Equal weighting: the baseline that every other method is compared with."""

from torch import Tensor
from typing_extensions import override

from polytask.balancing.base import LossBalancer, balancers


@balancers.register("equal")
class Equal(LossBalancer):
    """Sums the losses."""

    @override
    def objective(self, losses_T: Tensor) -> Tensor:
        return losses_T.sum()
