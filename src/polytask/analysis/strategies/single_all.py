"""A model of its own for every task, each with the compute of the joint one."""

from __future__ import annotations

from typing_extensions import override

from polytask.analysis.comparison import Comparison
from polytask.analysis.strategies.base import strategies
from polytask.analysis.strategies.trained import TrainedStrategy
from polytask.recipe import Recipe


@strategies.register("single_all")
class SingleAll(TrainedStrategy):
    """One model per task, each trained on as many tokens as the joint one."""

    @override
    def recipes(self, comparison: Comparison) -> dict[str, Recipe]:
        return {task: _with_all(comparison, task) for task in comparison.recipe.tasks}


def _with_all(comparison: Comparison, task: str) -> Recipe:
    """The recipe of one task alone; a budget in steps is that of the joint model anyway.

    It is validated as often as the joint model, so that more validations do not select better.
    """
    recipe = comparison.recipe_of([task])
    training = recipe.training
    if training.steps is not None:
        return recipe
    everything = comparison.epoch_tokens(comparison.recipe.tasks)
    factor = everything / max(1, comparison.epoch_tokens([task]))
    longer = {
        "epochs": training.epochs * factor,
        "evaluate_every": training.evaluate_every * factor,
    }
    return recipe.model_copy(update={"training": training.model_copy(update=longer)})
