"""A model of its own for every task."""

from __future__ import annotations

from typing_extensions import override

from polytask.analysis.comparison import Comparison
from polytask.analysis.strategies.base import strategies
from polytask.analysis.strategies.trained import TrainedStrategy
from polytask.recipe import Recipe


@strategies.register("single")
class Single(TrainedStrategy):
    """One model per task; together they see the rows that the joint one sees."""

    @override
    def recipes(self, comparison: Comparison) -> dict[str, Recipe]:
        return {task: alone(comparison, task) for task in comparison.recipe.tasks}


def alone(comparison: Comparison, task: str) -> Recipe:
    """The recipe of one task alone, with its part of a budget that is given in steps."""
    recipe = comparison.recipe_of([task])
    if recipe.training.steps is None:
        return recipe
    share = comparison.rows(task) / sum(map(comparison.rows, comparison.recipe.tasks))
    steps = max(1, round(share * recipe.training.steps))
    training = recipe.training.model_copy(update={"steps": steps})
    return recipe.model_copy(update={"training": training})
