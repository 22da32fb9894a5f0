"""COSMOS scalarisation.

Ruchte and Grabocka, "Scalable Pareto Front Approximation for Deep Multi-Objective Learning",
ICDM 2021. https://arxiv.org/abs/2103.13392
"""

from __future__ import annotations

from typing import Any

from pydantic import NonNegativeFloat
from torch import Tensor
from torch.nn.functional import cosine_similarity
from typing_extensions import override

from polytask.balancing.base import balancers
from polytask.balancing.preference_balancer import PreferenceBalancer


@balancers.register("cosmos")
class Cosmos(PreferenceBalancer):
    """Sums the weighted losses and rewards a small angle between losses and weights.

    Deviation: the preference is fixed. In the paper, preferences are sampled for every batch and
    are an input of the model.

    :param penalty: Weight of the angle; 0.01 to 8 in the paper.
    """

    def __init__(
        self, num_tasks: int, /, *, penalty: NonNegativeFloat = 1.0, **options: Any
    ) -> None:
        super().__init__(num_tasks, **options)
        self.penalty = penalty

    @override
    def objective(self, losses_t: Tensor) -> Tensor:
        weights_t = self.weights_t
        cosine = cosine_similarity(weights_t, losses_t, dim=0)
        return weights_t @ losses_t - self.penalty * cosine
