"""Analytic uncertainty weighting with softmax.

Kirchdorfer et al., "Analytical Uncertainty-Based Loss Weighting in Multi-Task Learning",
GCPR 2024 (UW-SO). https://arxiv.org/abs/2408.07985
"""

from pydantic import PositiveFloat
from torch import Tensor
from typing_extensions import override

from polytask.balancing.base import LossBalancer, balancers
from polytask.balancing.losses import is_positive


@balancers.register("uw_so")
class SoftOptimalUncertainty(LossBalancer):
    """Weighs the losses by the softmax of their reciprocals, the best variances in closed form.

    Deviations: the weights sum to the number of tasks present instead of one; a task whose loss is
    at most 1e-12 is left out of that step.

    :param temperature: Evens the weights out; the paper tunes it for each data set.
    """

    def __init__(self, num_tasks: int, /, *, temperature: PositiveFloat = 1.0) -> None:
        super().__init__(num_tasks)
        self.temperature = temperature

    @override
    def objective(self, losses_t: Tensor) -> Tensor:
        kept_t = losses_t[is_positive(losses_t)]
        weights_t = (1 / (self.temperature * kept_t.detach())).softmax(0)
        return len(kept_t) * (weights_t * kept_t).sum()
