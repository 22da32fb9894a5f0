"""Precision, recall and F1 of relations. A relation is right if its label and both spans are right.

Unrelated pairs are no relations, so that a negative class does not count. This is the scoring of
TACRED (Zhang et al., "Position-aware Attention and Supervised Data Improve Slot Filling", EMNLP
2017. https://aclanthology.org/D17-1004) and CoNLL04 (Roth and Yih, CoNLL 2004.
https://aclanthology.org/W04-2401).
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterable
from typing import Any, NamedTuple, final

from typing_extensions import override

from polytask.tasks.metrics.base import metrics
from polytask.tasks.metrics.span_scores import ItemScore


class _Relation(NamedTuple):
    """A relation; a span is its first word and the word after its last."""

    label: str
    head: tuple[int, ...]
    tail: tuple[int, ...]


class _RelationScore(ItemScore, ABC):
    forms = ("relations",)
    what = "relation"

    @override
    def items(self, row: Any) -> Iterable[Any]:
        return [_Relation(one["type"], tuple(one["head"]), tuple(one["tail"])) for one in row]


@final
@metrics.register("relation_precision")
class RelationPrecision(_RelationScore):
    """The share of predicted relations that are right."""

    rate = "precision"


@final
@metrics.register("relation_recall")
class RelationRecall(_RelationScore):
    """The share of reference relations that were predicted."""

    rate = "recall"


@final
@metrics.register("relation_f1")
class RelationF1(_RelationScore):
    """The harmonic mean of the precision and the recall of relations."""

    rate = "f1"
