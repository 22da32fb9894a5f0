"""One model for each task."""

from __future__ import annotations

from typing_extensions import override

from polytask.analysis.comparison import Comparison
from polytask.analysis.strategies.base import strategies
from polytask.analysis.strategies.trained import TrainedStrategy
from polytask.recipe import Recipe


@strategies.register("single")
class SingleStrategy(TrainedStrategy):
    """One model per task; together they are trained on as many tokens as the joint one.

    Rows that several tasks label are read once per task, so all rows are read less often.
    """

    @override
    def recipes(self, comparison: Comparison) -> dict[str, Recipe]:
        return comparison.recipes_of([[task] for task in comparison.recipe.tasks])


@strategies.register("single_all")
class SingleAllStrategy(TrainedStrategy):
    """One model per task, each trained on as many tokens as the joint one."""

    @override
    def recipes(self, comparison: Comparison) -> dict[str, Recipe]:
        tasks = comparison.recipe.tasks
        everything = comparison.epoch_tokens(tasks)
        return {
            task: comparison.recipe_of([task], everything / max(1, comparison.epoch_tokens([task])))
            for task in tasks
        }
