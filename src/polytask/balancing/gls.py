"""Geometric loss strategy.

Chennupati et al., "MultiNet++: Multi-Stream Feature Aggregation and Geometric Loss Strategy for
Multi-Task Learning", CVPR Workshops 2019. https://arxiv.org/abs/1904.08492
"""

from torch import Tensor
from typing_extensions import override

from polytask.balancing.base import LossBalancer, balancers
from polytask.balancing.losses import is_positive


@balancers.register("gls")
class GeometricLossStrategy(LossBalancer):
    """Minimises the geometric mean of the losses.

    Deviations: the mean is multiplied by the number of tasks present, so that equal losses weigh 1
    each; a task whose loss is at most 1e-12 is left out of that step.
    """

    @override
    def objective(self, losses_t: Tensor) -> Tensor:
        kept_t = losses_t[is_positive(losses_t)]
        return len(kept_t) * (kept_t.log().sum() / max(1, len(kept_t))).exp()
