"""The plain sum of losses."""

from __future__ import annotations

from typing import ClassVar

from typing_extensions import override

from polytask.analysis.comparison import Comparison
from polytask.analysis.strategies.base import strategies
from polytask.analysis.strategies.trained import TrainedStrategy
from polytask.balancing import balancers
from polytask.recipe import Recipe
from polytask.sharing import architectures


@strategies.register("sum")
class SumStrategy(TrainedStrategy):
    """One encoder for all tasks, trained on the plain sum of their losses."""

    shares: ClassVar[bool] = True

    @override
    def recipes(self, comparison: Comparison) -> dict[str, Recipe]:
        parts = {"sharing": architectures.parse("hard"), "balancing": balancers.parse("equal")}
        return {"": comparison.recipe.model_copy(update=parts)}
