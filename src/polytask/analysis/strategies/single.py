"""A model of its own for every task."""

from __future__ import annotations

from typing_extensions import override

from polytask.analysis.comparison import Comparison
from polytask.analysis.strategies.base import strategies
from polytask.analysis.strategies.trained import TrainedStrategy
from polytask.recipe import Recipe


@strategies.register("single")
class Single(TrainedStrategy):
    """One model per task, which passes over its rows as often as the joint one does.

    Where every row is read by one task, all of them together see as many tokens as the joint one.
    """

    @override
    def recipes(self, comparison: Comparison) -> dict[str, Recipe]:
        return {task: comparison.recipe_of([task]) for task in comparison.recipe.tasks}
