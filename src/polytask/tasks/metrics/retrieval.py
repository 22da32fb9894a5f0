"""Metrics of text vectors: retrieval of the partner of a text, and similarity of two texts.

A prediction is the vectors of a row's texts, of length 1. The reference is a number: the similarity
of the first two texts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, final

import numpy as np
import numpy.typing as npt
from pydantic import PositiveInt
from typing_extensions import override

from polytask.tasks.metrics.base import Floats, Metric, Rows, mean_of_defined, metrics
from polytask.tasks.metrics.numeric import Pearson, Spearman

_BLOCK = 1024  # rows that are compared with all others at a time
_SAME = 1e-6  # similarities that differ by less are rounding


class _RetrievalMetric(Metric, ABC):
    """Each first text is a query for its partner among the second texts of all rows, the collection.

    Equal texts of the collection count once. The metric is undefined if all are equal, or if a vector
    is not finite. Resampling draws queries, not the collection.

    :param positive: Rows whose number is at least this are queries; the second texts of the other
        rows are only in the collection.
    """

    forms = ("vectors",)

    def __init__(self, labels: Sequence[str], /, *, positive: float = 1.0) -> None:
        super().__init__(labels)
        self.positive = positive

    @abstractmethod
    def of_rank(self, rank: int) -> float:
        """Return the metric of a query whose partner is at this place, from 1."""

    @override
    def evidence(self, references: Rows, predictions: Rows, probabilities: Rows) -> Floats:
        if not len(predictions):
            return np.zeros(0)
        anchors_ND, partners_ND = (np.array([row[at] for row in predictions]) for at in (0, 1))
        if not _differ(partners_ND) or not np.isfinite(anchors_ND).all():
            return np.full(len(predictions), np.nan)
        ranks_N = ranks_of_partners(anchors_ND, partners_ND)
        looking = np.array(references, np.float64) >= self.positive
        rows = zip(ranks_N.tolist(), looking.tolist(), strict=True)
        return np.array([self.of_rank(rank) if own else np.nan for rank, own in rows], np.float64)

    @override
    def value(self, evidence: Floats, weights_N: Floats) -> float:
        return mean_of_defined(evidence, weights_N)

    @override
    def why_uninformative(self, references: Sequence[Any]) -> str | None:
        looking = any(number >= self.positive for number in references)
        none = None if looking else f"no number is {self.positive:g} or more"
        few = "only one row has a label" if len(references) == 1 else None
        return super().why_uninformative(references) or none or few


@final
@metrics.register("retrieval_mrr")
class RetrievalMRR(_RetrievalMetric):
    """The mean of one divided by the place at which the partner of a text is found."""

    name = "retrieval_mrr"

    @override
    def of_rank(self, rank: int) -> float:
        return 1 / rank


@final
@metrics.register("retrieval_recall")
class RetrievalRecall(_RetrievalMetric):
    """The share of texts whose partner is among the k nearest.

    :param k: How many of the nearest count.
    """

    def __init__(self, labels: Sequence[str], /, *, k: PositiveInt = 1, **options: Any) -> None:
        super().__init__(labels, **options)
        self.k = k

    @property
    @override
    def name(self) -> str:
        return f"retrieval_recall_{self.k}"

    @override
    def of_rank(self, rank: int) -> float:
        return float(rank <= self.k)


class _CosineMetric(Metric, ABC):
    """A correlation of the cosines of pairs with their numbers."""

    forms = ("vectors",)
    correlation: ClassVar[type[Pearson] | type[Spearman]]

    @property
    @override
    def name(self) -> str:
        return f"cosine_{self.correlation.__name__.lower()}"

    @override
    def evidence(self, references: Rows, predictions: Rows, probabilities: Rows) -> Any:
        cosines = [round(float(np.dot(row[0], row[1])), 9) for row in predictions]
        return self.correlation(()).evidence(references, cosines, ())

    @override
    def value(self, evidence: Any, weights_N: Floats) -> float:
        return self.correlation(()).value(evidence, weights_N)

    @override
    def why_uninformative(self, references: Sequence[Any]) -> str | None:
        return self.correlation(()).why_uninformative(references)


@final
@metrics.register("cosine_spearman")
class CosineSpearman(_CosineMetric):
    """Correlation of the ranks of cosines and numbers, as for STS."""

    correlation = Spearman


@final
@metrics.register("cosine_pearson")
class CosinePearson(_CosineMetric):
    """Linear correlation of cosines and numbers."""

    correlation = Pearson


def _differ(vectors_ND: Floats) -> bool:
    """Return whether vectors are finite and not all equal; a collapsed model makes equal ones."""
    return bool(np.isfinite(vectors_ND).all() and (np.ptp(vectors_ND, axis=0) > _SAME).any())


def ranks_of_partners(anchors_ND: Floats, partners_ND: Floats) -> npt.NDArray[np.int64]:
    """Return the place of each row's partner among all distinct partners, nearest first, from 1."""
    collection_MD = np.unique(partners_ND.round(6), axis=0)
    ranks = []
    for start in range(0, len(anchors_ND), _BLOCK):
        anchors_nD = anchors_ND[start : start + _BLOCK]
        own_n1 = (anchors_nD * partners_ND[start : start + _BLOCK]).sum(1, keepdims=True)
        ranks.append(1 + (anchors_nD @ collection_MD.T > own_n1 + 2 * _SAME).sum(1))
    return np.concatenate(ranks)
