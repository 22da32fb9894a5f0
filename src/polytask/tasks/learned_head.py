"""Base of heads that score marked tokens of texts: completions, and turns of conversations."""

from __future__ import annotations

from abc import ABC
from typing import ClassVar, NamedTuple

from torch import Tensor, nn
from typing_extensions import override

from polytask.core.collated import Collated
from polytask.core.features import Features
from polytask.core.prompts import LEARNED
from polytask.tasks.base import Encode, HeadContext
from polytask.tasks.language_head import KEPT, NATS, LanguageHead, require_reads_forward
from polytask.tasks.masking import places_of

WEIGHTS = "weights_bK"
"""The key of the weights of predicted tokens in the loss."""


class TextCosts(NamedTuple):
    """The costs of the P texts of b rows.

    :param nats_bP: The negative log-probability of the learned tokens of each text.
    :param tokens_bP: The number of learned tokens.
    :param there_bP: True for each text that a row has.
    """

    nats_bP: Tensor
    tokens_bP: Tensor
    there_bP: Tensor


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

    def text_costs(self, features: Features, rows: HeadContext) -> TextCosts:
        """Return the costs of every text of rows of several texts."""
        there_bP, apart = features.segment_mask_BP, features.per_segment
        there_N = there_bP.flatten()
        own = Features(apart.tokens_BLD[there_N], apart.mask_BL[there_N])
        costs = LanguageHead.forward(self, own, rows)
        found = costs[NATS].sum(1), costs[KEPT].sum(1)
        nats_bP, tokens_bP = (
            one_N.new_zeros(there_bP.shape).masked_scatter(there_bP, one_N) for one_N in found
        )
        return TextCosts(nats_bP, tokens_bP, there_bP)
