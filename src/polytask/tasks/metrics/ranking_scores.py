"""Metrics of the order of the items of a row: means over rows.

Where two scores are equal the less relevant item is put first, so that equal scores gain nothing.
Rows without a relevant item, or with a score that is not a number, do not count.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, final

import numpy as np
from pydantic import PositiveInt
from typing_extensions import override

from polytask.tasks.metrics.base import Floats, RowMeanMetric, metrics


class _OrderMetric(RowMeanMetric, ABC):
    """The mean over rows of a function of the relevance of their items, best score first."""

    forms = ("ranking",)

    @abstractmethod
    def of_row(self, relevance_P: Floats) -> float:
        """Return the metric of one row that has a relevant item.

        :param relevance_P: The relevance of its items in the order of their scores.
        """

    @override
    def row_score(self, reference: Any, prediction: Any) -> float:
        relevance_P, scores_P = np.array(reference), np.array(prediction)
        order_P = np.lexsort((relevance_P, -scores_P))
        defined = (relevance_P > 0).any() and not np.isnan(scores_P).any()
        return self.of_row(relevance_P[order_P]) if defined else float("nan")

    @override
    def why_uninformative(self, references: Sequence[Any]) -> str | None:
        relevant = any(value > 0 for row in references for value in row)
        none = None if relevant else "no row has a relevant item"
        return super().why_uninformative(references) or none


class _CutMetric(_OrderMetric, ABC):
    """A metric of the first items alone.

    :param k: How many of the first items count; all of them by default.
    """

    kind: ClassVar[str]

    def __init__(self, labels: Sequence[str], /, *, k: PositiveInt | None = None) -> None:
        super().__init__(labels)
        self.k = k

    @property
    @override
    def name(self) -> str:
        return self.kind if self.k is None else f"{self.kind}_{self.k}"


@final
@metrics.register("mrr")
class MRR(_OrderMetric):
    """Mean reciprocal rank: one divided by the place of the first relevant item."""

    name = "mrr"

    @override
    def of_row(self, relevance_P: Floats) -> float:
        return 1 / (1 + int((relevance_P > 0).argmax()))


@final
@metrics.register("map")
class MAP(_OrderMetric):
    """Mean average precision: the mean over relevant items of the precision up to their place."""

    name = "map"

    @override
    def of_row(self, relevance_P: Floats) -> float:
        hits_P = relevance_P > 0
        precision_P = hits_P.cumsum() / np.arange(1, len(hits_P) + 1)
        return float(precision_P[hits_P].mean())


@final
@metrics.register("ndcg")
class NDCG(_CutMetric):
    """Normalised discounted cumulative gain: the gain of the first items, by the best possible.

    Järvelin and Kekäläinen, "Cumulated Gain-based Evaluation of IR Techniques", TOIS 2002, with the
    relevance as gain and a discount of log2(1 + place). https://doi.org/10.1145/582415.582418
    """

    kind = "ndcg"

    @override
    def of_row(self, relevance_P: Floats) -> float:
        discounts_P = 1 / np.log2(np.arange(2, len(relevance_P) + 2))
        discounts_P[self.k or len(relevance_P) :] = 0
        return float(relevance_P @ discounts_P / (-np.sort(-relevance_P) @ discounts_P))


@final
@metrics.register("gain")
class Gain(_CutMetric):
    """The relevance of the first k items, divided by the best possible; k is 1 by default.

    With relevance 0 or 1, this is the number of relevant items among the first k, divided by the
    greatest number possible. With ROUGE as relevance, it is the share of the best ROUGE.
    """

    kind = "gain"

    @override
    def of_row(self, relevance_P: Floats) -> float:
        k = self.k or 1
        return float(relevance_P[:k].sum() / -np.sort(-relevance_P)[:k].sum())
