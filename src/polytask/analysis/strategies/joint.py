"""One model for all tasks: as the recipe says, with a plain sum, or with one LoRA."""

from __future__ import annotations

from typing import ClassVar

from typing_extensions import override

from polytask.analysis.comparison import Comparison
from polytask.analysis.strategies.base import strategies
from polytask.analysis.strategies.trained import TrainedStrategy
from polytask.balancing import balancers
from polytask.recipe import Recipe
from polytask.sharing import architectures


@strategies.register("joint")
class JointStrategy(TrainedStrategy):
    """One model for all tasks, as the recipe says."""

    shares: ClassVar[bool] = True

    @override
    def recipes(self, comparison: Comparison) -> dict[str, Recipe]:
        return {"": comparison.recipe}


@strategies.register("sum")
class SumStrategy(TrainedStrategy):
    """One encoder for all tasks, trained on the plain sum of their losses."""

    shares: ClassVar[bool] = True

    @override
    def recipes(self, comparison: Comparison) -> dict[str, Recipe]:
        parts = {"sharing": architectures.parse("hard"), "balancing": balancers.parse("equal")}
        return {"": comparison.recipe.model_copy(update=parts)}


@strategies.register("lora")
class LoraForAllStrategy(TrainedStrategy):
    """The frozen encoder with one LoRA of rank 64 for all tasks, otherwise as the recipe says.

    Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022.
    https://arxiv.org/abs/2106.09685 It needs a pretrained encoder, and mostly a higher learning
    rate than full fine-tuning.
    """

    shares: ClassVar[bool] = True

    @override
    def recipes(self, comparison: Comparison) -> dict[str, Recipe]:
        part = {"sharing": architectures.parse("lora")}
        return {"": comparison.recipe.model_copy(update=part)}
