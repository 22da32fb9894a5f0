"""Scores of the ordered pairs of marked spans."""

from __future__ import annotations

from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.compiler import is_compiling
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

from polytask.core.errors import RecipeError
from polytask.core.features import Features
from polytask.tasks.base import Head, HeadContext
from polytask.tasks.heads import no_words, stretch_means

PAIRS, KEPT_PAIRS = "pairs_bMMC", "kept_bMM"
"""The outputs of a ``PairsHead``: scores of every pair, and which pairs the encoder kept."""

Spans: TypeAlias = tuple[Tensor, Tensor, Tensor]
"""Hidden vectors of spans, their first tokens, and the tokens after their last ones."""

_AT_ONCE = 2**16
"""Number of pairs with hidden vectors in memory at a time. A row of 300 spans has 90,000 pairs."""


class PairsHead(Head):
    """Scores the first span, what is between the spans, and the second: ``{pairs_bMMC, kept_bMM}``.

    Eberts and Ulges, "Span-based Joint Entity and Relation Extraction with Transformer
    Pre-training", ECAI 2020. https://arxiv.org/abs/1909.07755. Unlike there, tokens are averaged,
    and their vectors go through a hidden layer.

    :param task: Name of the task, for messages.
    :param width: D of the features.
    :param outputs: Number of scores of a pair, C.
    :param dropout: Share of the features, and of the hidden layer, dropped in training.
    :param hidden: Width of the hidden layer.
    """

    def __init__(self, task: str, width: int, outputs: int, dropout: float, hidden: int) -> None:
        super().__init__()
        self.task = task
        self.drop = nn.Dropout(dropout)
        self.first = nn.Linear(width, hidden)
        self.second = nn.Linear(width, hidden, bias=False)
        self.between = nn.Linear(width, hidden, bias=False)
        self.scorer = nn.Sequential(nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, outputs))

    @override
    def forward(self, features: Features, *context: HeadContext) -> dict[str, Tensor]:
        starts_bM, stops_bM, kept_bM = _tokens_of_spans(features, self.task)
        spans_bMD = self.drop(stretch_means(features, starts_bM, stops_bM))
        first = self.first(spans_bMD), starts_bM, stops_bM
        second = self.second(spans_bMD), starts_bM, stops_bM
        rows, spans = kept_bM.shape
        if is_compiling() or rows * spans**2 <= _AT_ONCE:
            pairs_bMMC = self._scores(features, first, second)
        else:  # in training, hidden vectors are computed twice rather than kept
            step = max(1, _AT_ONCE // (rows * spans))
            parts = zip(*(part.split(step, 1) for part in first), strict=True)
            score = partial(checkpoint, self._scores, features, use_reentrant=False)
            pairs_bMMC = torch.cat([score(part, second) for part in parts], 1)
        return {PAIRS: pairs_bMMC, KEPT_PAIRS: kept_bM.unsqueeze(2) & kept_bM.unsqueeze(1)}

    def _scores(self, features: Features, first: Spans, second: Spans) -> Tensor:
        """Score some first spans, S of them, with every second."""
        first_bSH, starts_bS, stops_bS = first
        second_bMH, starts_bM, stops_bM = second
        # Between the spans, whichever comes first: from the lower end to the higher start.
        from_bSM = torch.minimum(stops_bS.unsqueeze(2), stops_bM.unsqueeze(1))
        to_bSM = torch.maximum(starts_bS.unsqueeze(2), starts_bM.unsqueeze(1))
        means_bND = self.drop(stretch_means(features, from_bSM.flatten(1), to_bSM.flatten(1)))
        between_bSMH = self.between(means_bND).unflatten(1, from_bSM.shape[1:])
        hidden_bSMH = first_bSH.unsqueeze(2) + between_bSMH + second_bMH.unsqueeze(1)
        scores_bSMC: Tensor = self.scorer(hidden_bSMH)
        return scores_bSMC


def _tokens_of_spans(features: Features, task: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return the first token of each span, that after its last, and which spans the encoder kept."""
    if features.words_BW is None:
        raise no_words(task)
    if features.spans_BM2 is None:
        raise RecipeError(
            [
                f"tasks.{task}: relates spans, but the encoder does not know where they are. Choose "
                "one that keeps words (cnn, bilstm, transformer, huggingface)."
            ]
        )
    words_bW = functional.pad(features.words_BW, (0, 1), value=-1)
    starts_bM, stops_bM = (
        words_bW.gather(1, words_bM.clamp(0, words_bW.shape[1] - 1))
        for words_bM in features.spans_BM2.unbind(-1)
    )
    kept_bM = (features.spans_BM2[..., 0] >= 0) & (starts_bM >= 0)
    lengths_b1 = features.mask_BL.sum(1, keepdim=True)
    stops_bM = torch.where(stops_bM < 0, lengths_b1, stops_bM)
    return starts_bM.clamp(min=0), stops_bM, kept_bM
