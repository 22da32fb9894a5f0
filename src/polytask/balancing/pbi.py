"""Penalty-based boundary intersection.

Zhang and Li, "MOEA/D: A Multiobjective Evolutionary Algorithm Based on Decomposition", IEEE TEVC
2007, section II.C. https://doi.org/10.1109/TEVC.2007.892759
"""

from __future__ import annotations

from pydantic import NonNegativeFloat
from torch import Tensor
from typing_extensions import override

from polytask.balancing.base import LossBalancer, balancers
from polytask.balancing.losses import EPSILON, TaskWeights, preferences


@balancers.register("pbi")
class BoundaryIntersection(LossBalancer):
    """Minimises the losses along a preferred direction and their distance from it.

    Deviations: 0, the least that a loss can be, is the ideal point; the objective is multiplied by
    the length of the weights, so that without a penalty it is the weighted sum. Of t tasks that
    are preferred equally, one that is far ahead is unlearned if the penalty exceeds
    1/sqrt(t - 1).

    :param weights: The direction, a weight for each task by its name, or a list in the
        order of the recipe; 1 by default.
    :param penalty: What distance from the direction costs; 5 in the paper.
    """

    weights_T: Tensor

    def __init__(
        self, num_tasks: int, /, *, weights: TaskWeights = None, penalty: NonNegativeFloat = 0.5
    ) -> None:
        super().__init__(num_tasks)
        self.register_buffer("weights_T", preferences(weights, num_tasks))
        self.penalty = penalty

    @override
    def objective(self, losses_t: Tensor) -> Tensor:
        weights_t = self.weights_T[self.active_t]
        length = weights_t.norm()
        direction_t = weights_t / length.clamp(min=EPSILON)
        along = losses_t @ direction_t
        across = (losses_t - along * direction_t).norm()
        objective: Tensor = length * (along + self.penalty * across)
        return objective
