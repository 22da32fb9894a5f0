"""A model of its own for every task."""

from __future__ import annotations

from typing_extensions import override

from polytask.analysis.comparison import Comparison
from polytask.analysis.strategies.base import strategies
from polytask.analysis.strategies.trained import TrainedStrategy
from polytask.recipe import Recipe


@strategies.register("single")
class SingleStrategy(TrainedStrategy):
    """One model per task; together they are trained on as many tokens as the joint one.

    Rows that several tasks label are read once for each, and all of them less often.
    """

    @override
    def recipes(self, comparison: Comparison) -> dict[str, Recipe]:
        return comparison.recipes_of([[task] for task in comparison.recipe.tasks])
