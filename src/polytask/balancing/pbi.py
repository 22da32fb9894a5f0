"""Penalty-based boundary intersection.

Zhang and Li, "MOEA/D: A Multiobjective Evolutionary Algorithm Based on Decomposition", IEEE TEVC
2007, section II.C. https://doi.org/10.1109/TEVC.2007.892759
"""

from __future__ import annotations

from typing import Any

from pydantic import NonNegativeFloat
from torch import Tensor
from typing_extensions import override

from polytask.balancing.base import balancers
from polytask.balancing.losses import EPSILON
from polytask.balancing.preference_balancer import PreferenceBalancer


@balancers.register("pbi")
class BoundaryIntersection(PreferenceBalancer):
    """Minimises the losses along a preferred direction and their distance from it.

    Deviations: 0, the least that a loss can be, is the ideal point; the objective is multiplied by
    the length of the weights, so that without a penalty it is the weighted sum. Of t tasks that
    are preferred equally, one that is far ahead is unlearned if the penalty exceeds
    1/sqrt(t - 1).

    :param penalty: Weight of the distance from the direction; 5 in the paper.
    """

    def __init__(
        self, num_tasks: int, /, *, penalty: NonNegativeFloat = 0.5, **options: Any
    ) -> None:
        super().__init__(num_tasks, **options)
        self.penalty = penalty

    @override
    def objective(self, losses_t: Tensor) -> Tensor:
        weights_t = self.weights_t
        length = weights_t.norm()
        direction_t = weights_t / length.clamp(min=EPSILON)
        along = losses_t @ direction_t
        across = (losses_t - along * direction_t).norm()
        objective: Tensor = length * (along + self.penalty * across)
        return objective
