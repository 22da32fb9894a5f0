"""Loss methods with a preference for each task."""

from __future__ import annotations

from abc import ABC

from torch import Tensor

from polytask.balancing.base import LossBalancer
from polytask.balancing.losses import TaskWeights, make_preferences


class PreferenceBalancer(LossBalancer, ABC):
    """Base of loss methods with a fixed weight for each task.

    :param weights: The preference, a weight for each task by its name, or a list in the order of the
        recipe; 1 by default.
    """

    weights_T: Tensor

    def __init__(self, num_tasks: int, /, *, weights: TaskWeights = None) -> None:
        super().__init__(num_tasks)
        self.register_buffer("weights_T", make_preferences(weights, num_tasks))

    @property
    def weights_t(self) -> Tensor:
        """The weights of the tasks that are present."""
        return self.weights_T[self.active_t]
