"""All tasks in one model."""

from __future__ import annotations

from typing import ClassVar

from typing_extensions import override

from polytask.analysis.comparison import Comparison
from polytask.analysis.strategies.base import strategies
from polytask.analysis.strategies.trained import TrainedStrategy
from polytask.recipe import Recipe


@strategies.register("joint")
class JointStrategy(TrainedStrategy):
    """One model for all tasks, as the recipe says."""

    shares: ClassVar[bool] = True

    @override
    def recipes(self, comparison: Comparison) -> dict[str, Recipe]:
        return {"": comparison.recipe}
