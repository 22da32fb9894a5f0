"""Static weights of the tasks, chosen on validation rows."""

from __future__ import annotations

from typing import ClassVar

from typing_extensions import override

from polytask.analysis.comparison import Comparison
from polytask.analysis.settings import dimensions, weight_grid
from polytask.analysis.strategies.base import strategies
from polytask.analysis.strategies.trained import TrainedStrategy
from polytask.analysis.tuning import GridSearch, SettingsSearch, TPESearch
from polytask.balancing import balancers
from polytask.recipe import Recipe


@strategies.register("static")
class StaticStrategy(TrainedStrategy):
    """One model for all tasks, trained on a weighted sum of their losses.

    Well-tuned weights are hard to beat: Xin et al., "Do Current Multi-Task Optimization Methods in
    Deep Learning Even Help?", NeurIPS 2022. https://arxiv.org/abs/2209.11379 Without trials, a grid
    of at most 12 points is trained; it is more than the other strategies have. With trials, weights
    are tuned together with the learning rate, by as many trials as all have.
    """

    shares: ClassVar[bool] = True

    @override
    def recipes(self, comparison: Comparison) -> dict[str, Recipe]:
        part = {"balancing": balancers.parse("fixed")}
        return {"": comparison.recipe.model_copy(update=part)}

    @override
    def chooses(self, recipe: Recipe) -> bool:
        return True

    @override
    def search(self, recipe: Recipe, trials: int) -> SettingsSearch:
        if trials:
            return TPESearch(dimensions(recipe, weights=True), trials, recipe.training.seed)
        return GridSearch(weight_grid(list(recipe.tasks)))
