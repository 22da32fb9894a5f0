"""One low-rank term of high rank for all tasks."""

from __future__ import annotations

from typing import ClassVar

from typing_extensions import override

from polytask.analysis.comparison import Comparison
from polytask.analysis.strategies.base import strategies
from polytask.analysis.strategies.trained import TrainedStrategy
from polytask.recipe import Recipe
from polytask.sharing import architectures


@strategies.register("lora")
class LoraForAllStrategy(TrainedStrategy):
    """The frozen encoder with one LoRA of rank 64 for all tasks, otherwise as the recipe says.

    Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022.
    https://arxiv.org/abs/2106.09685 It needs a pretrained encoder, and mostly a higher learning
    rate than training the encoder itself.
    """

    shares: ClassVar[bool] = True

    @override
    def recipes(self, comparison: Comparison) -> dict[str, Recipe]:
        part = {"sharing": architectures.parse("lora")}
        return {"": comparison.recipe.model_copy(update=part)}
