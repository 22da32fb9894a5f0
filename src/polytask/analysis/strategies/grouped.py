"""One model per group of tasks."""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from polytask.analysis.comparison import Comparison
from polytask.analysis.strategies.base import strategies
from polytask.analysis.strategies.trained import TrainedStrategy
from polytask.recipe import Recipe


@strategies.register("grouped")
class GroupedStrategy(TrainedStrategy):
    """One joint model for each of ``compare.groups``; together they see as many tokens as joint.

    Rows that tasks of several groups label are read once per group, so all rows are read less often.

    Standley et al., "Which Tasks Should Be Learned Together in Multi-task Learning?", ICML 2020.
    https://arxiv.org/abs/1905.07553
    """

    @override
    def mistakes(self, recipe: Recipe) -> list[str]:
        if not recipe.compare.groups:
            example = "[[a, b], [c]]"
            return [f"compare.groups: grouped needs groups of tasks, such as {example}."]
        grouped = {task for group in recipe.compare.groups for task in group}
        missing = [task for task in recipe.trained if task not in grouped]
        text = "is in no group. Add it to one, or add a group for it alone."
        return [f"compare.groups: task {task!r} {text}" for task in missing]

    @override
    def settings(self, recipe: Recipe) -> dict[str, Any]:
        return {"groups": [list(group) for group in recipe.compare.groups]}

    @override
    def recipes(self, comparison: Comparison) -> dict[str, Recipe]:
        return comparison.recipes_of(comparison.recipe.compare.groups)
