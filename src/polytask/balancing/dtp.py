"""Dynamic task prioritisation.

Guo et al., "Dynamic Task Prioritization for Multitask Learning", ECCV 2018, the priorities among
tasks. https://openaccess.thecvf.com/content_ECCV_2018/html/Michelle_Guo_Focus_on_the_ECCV_2018_paper.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import NonNegativeFloat
from torch import Tensor
from typing_extensions import override

from polytask.balancing.balancer import Share
from polytask.balancing.base import LossBalancer, balancers

MARGIN = 1e-3
"""Scores closer to 0 or 1 count as this close, so that weights are finite and above 0."""


@balancers.register("dtp")
class DynamicTaskPrioritisation(LossBalancer):
    """Gives more weight to tasks whose validation score is low, in the form of the focal loss.

    Deviations: there are no priorities among the rows of a task; a task has weight 1 until its
    first validation. Scores are understood as shares of what can be reached, and are clipped to
    0.001 to 0.999.

    :param gamma: How sharply weights fall with the score, the focusing parameter.
    :param discount: Share of the newest score in its moving average; 1 forgets all others.
    """

    score_T: Tensor  # 0 for a task that has not been validated

    def __init__(
        self, num_tasks: int, /, *, gamma: NonNegativeFloat = 1.0, discount: Share = 0.5
    ) -> None:
        super().__init__(num_tasks)
        self.gamma = gamma
        self.discount = discount
        self.register_buffer("score_T", torch.zeros(num_tasks))

    @override
    def objective(self, losses_t: Tensor) -> Tensor:
        score_t = self.score_T[self.active_t]
        weights_t = torch.where(score_t > 0, focal(score_t, self.gamma), 1.0)
        return (weights_t * losses_t).sum()

    @override
    def observe(self, record: Mapping[str, Any]) -> None:
        for task, score in record.get("validation", {}).items():
            score = min(max(score, MARGIN), 1 - MARGIN)
            before = self.score_T[task] if self.score_T[task] > 0 else score
            self.score_T[task] = self.discount * score + (1 - self.discount) * before


def focal(score_t: Tensor, gamma: float) -> Tensor:
    """Return -(1 - k)^gamma · log k."""
    return -((1 - score_t) ** gamma) * score_t.log()
