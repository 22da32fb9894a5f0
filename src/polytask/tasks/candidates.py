"""Scores of the texts of a row, or of the items of a list: heads, targets and losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from polytask.core.errors import DataError
from polytask.core.features import Features
from polytask.core.padding import pad
from polytask.tasks.base import Head, HeadContext
from polytask.tasks.heads import Pool, SentenceHead
from polytask.tasks.numbers import numbers_of

SCORES, THERE = "scores_bP", "there_bP"
"""What heads of items return: a score of each of P items, and which items a row has."""

MISSING = -1.0
"""What stands for an item that is not there, in collated targets."""


class TextsHead(Head):
    """Scores each text of a row by itself: ``{scores_bP, there_bP}``.

    :param width: D of the features.
    :param pool: How the tokens of a text become one vector.
    :param dropout: Share of the features dropped in training.
    :param hidden: Width of a hidden layer, or None for a linear head.
    """

    def __init__(self, width: int, pool: Pool, dropout: float, hidden: int | None) -> None:
        super().__init__()
        self.each = SentenceHead(width, 1, pool, dropout, hidden)

    @override
    def bind(self, encoder: nn.Module) -> None:
        self.each.bind(encoder)

    @override
    def forward(self, features: Features, *context: HeadContext) -> dict[str, Tensor]:
        scores_Q1: Tensor = self.each(features.per_segment)
        scores_bP = scores_Q1.unflatten(0, (-1, features.segments)).squeeze(-1)
        return {SCORES: scores_bP, THERE: features.segment_mask_BP}


def relevance(task: str, column: str, value: Any, items: Any) -> list[float] | None:
    """Return the number of each item, 0 or more.

    :param items: The items, if the row lists them.
    :raises DataError: If the value is no list of such numbers, one for each item.
    """
    try:
        numbers = numbers_of(value)
    except DataError as error:
        raise DataError(f"task {task}: column {column!r}: {error}.") from None
    if numbers is not None and isinstance(items, list) and len(items) != len(numbers):
        raise DataError(
            f"task {task}: column {column!r}: found {len(numbers)} numbers for {len(items)} items. "
            "Expected one for each."
        )
    return numbers


def collate_numbers(targets: Sequence[Sequence[float]]) -> Tensor:
    """Return the numbers of b rows, relevance_bP."""
    return pad(targets, MISSING, torch.float)


def kept_scores(scores: dict[str, Tensor], width: int) -> Tensor:
    """Return the scores of the first items; those that are not there score next to nothing."""
    scores_bP = scores[SCORES][:, :width].float()
    lowest = torch.finfo(scores_bP.dtype).min / 4
    return scores_bP.masked_fill(~scores[THERE][:, :width], lowest)


def softmax_losses(scores_bP: Tensor, relevance_bP: Tensor) -> Tensor:
    """Cross-entropy of each row's items with their relevance as shares.

    Bruch et al., "An Analysis of the Softmax Cross Entropy Loss for Learning-to-Rank with Binary
    Relevance", ICTIR 2019, equation 4. https://doi.org/10.1145/3341981.3344221
    """
    shares_bP = relevance_bP.clamp(min=0)
    shares_bP = shares_bP / shares_bP.sum(1, keepdim=True).clamp(min=1e-9)
    return functional.cross_entropy(scores_bP, shares_bP, reduction="none")


def pairwise_losses(scores_bP: Tensor, relevance_bP: Tensor) -> Tensor:
    """Return the mean logistic loss of each row's pairs of items that differ in relevance.

    Burges et al., "Learning to Rank using Gradient Descent", ICML 2005, section 3.
    https://doi.org/10.1145/1102351.1102363
    """
    ahead_bPP = relevance_bP.unsqueeze(2) > relevance_bP.unsqueeze(1)
    ahead_bPP = ahead_bPP & (relevance_bP != MISSING).unsqueeze(1)
    losses_bPP = functional.softplus(scores_bP.unsqueeze(1) - scores_bP.unsqueeze(2))
    return (losses_bPP * ahead_bPP).sum((1, 2)) / ahead_bPP.sum((1, 2)).clamp(min=1)


def list_items(scores: dict[str, Tensor]) -> list[list[float]]:
    """Return the scores of the items that each row has, up to the last one."""
    rows = zip(scores[SCORES].float().tolist(), scores[THERE].tolist(), strict=True)
    return [[score for score, there in zip(own, kept, strict=True) if there] for own, kept in rows]


def shares(scores: dict[str, Tensor]) -> list[list[float]]:
    """Return a softmax over the items that each row has."""
    own_bP = kept_scores(scores, scores[SCORES].shape[1]).detach()
    return list_items({**scores, SCORES: own_bP.softmax(1)})
