"""Base of heads that score marked tokens of texts: completions, and turns of conversations."""

from __future__ import annotations

from abc import ABC
from typing import ClassVar

from torch import Tensor, nn
from typing_extensions import override

from polytask.core.collated import Collated
from polytask.core.features import Features
from polytask.core.prompts import LEARNED
from polytask.tasks.base import Encode, HeadContext
from polytask.tasks.language_head import LanguageHead, require_reads_forward
from polytask.tasks.masking import places_of

WEIGHTS = "weights_bK"
"""The key of the weights of predicted tokens in the loss."""


class LearnedHead(LanguageHead, ABC):
    """Predicts the tokens that the input ``learned`` marks, each from those before it."""

    biased: ClassVar[bool] = False
    needs_causal: ClassVar[bool] = True

    @override
    def validate(self, encode: Encode) -> None:
        require_reads_forward(encode, self)

    @override
    def new_transform(self, width: int, dimension: int) -> nn.Module:
        return nn.Identity() if width == dimension else nn.Linear(width, dimension)

    @override
    def choose(self, inputs: Collated) -> tuple[Tensor, Tensor]:
        learned_bL = inputs[LEARNED] > 0
        learned_bL[:, 0] = False  # no token is before it
        return learned_bL, learned_bL.roll(-1, dims=1)

    def weighted_costs(self, features: Features, rows: HeadContext) -> dict[str, Tensor]:
        """Return the costs of single texts, with the weight of each token."""
        places_bK, kept_bK = places_of(self.choose(rows.inputs)[0])
        weights_bK = rows.inputs[LEARNED].gather(1, places_bK) * kept_bK
        return {**LanguageHead.forward(self, features, rows), WEIGHTS: weights_bK}
