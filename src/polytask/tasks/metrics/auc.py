"""The area under the receiver operating characteristic curve (ROC)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, final

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from polytask.tasks.metrics.base import Floats, Metric, Rows, metrics


class RankedScores(NamedTuple):
    """N rows in the order of their scores for one label."""

    order_N: npt.NDArray[np.int64]
    """Rows by rising score."""
    level_N: npt.NDArray[np.int64]
    """The position of each score, in that order, among the distinct scores."""
    positive_N: npt.NDArray[np.bool_]
    """True for rows, in that order, that carry the label."""


@final
@metrics.register("auc")
class AUC(Metric):
    """The probability that a row with a label scores higher than one without; ties count half.

    With two labels, the second is the positive one. With more, and for label sets, it is the mean
    over labels (one against the rest). Labels on no row or on every row are left out.
    Hanley and McNeil, Radiology 1982. https://doi.org/10.1148/radiology.143.1.7063747
    """

    forms = ("label", "labels")
    name = "auc"
    needs_probabilities = True

    @override
    def evidence(
        self, references: Rows, predictions: Rows, probabilities: Rows
    ) -> list[RankedScores]:
        if not len(references) or not np.isfinite(probabilities).all():
            return []
        scores_NC = np.stack(probabilities)
        binary = len(self.label_set) == 2 and isinstance(references[0], str)
        positives = [1] if binary else range(len(self.label_set))
        return [
            rank_scores(scores_NC[:, place], _carries(references, self.label_set[place]))
            for place in positives
        ]

    @override
    def value(self, evidence: list[RankedScores], weights_N: Floats) -> float:
        areas = np.array([area_under(ranking, weights_N) for ranking in evidence])
        defined = areas[~np.isnan(areas)]
        return float(defined.mean()) if len(defined) else float("nan")

    @override
    def why_uninformative(self, references: Sequence[Any]) -> str | None:
        split = any(len({*_carries(references, label)}) > 1 for label in self.label_set)
        none = None if split else "no label is on some rows and not on others"
        return super().why_uninformative(references) or none


def _carries(references: Sequence[Any], label: str) -> npt.NDArray[np.bool_]:
    """Return which rows carry a label."""
    return np.array([one == label if isinstance(one, str) else label in one for one in references])


def rank_scores(scores_N: Floats, positive_N: npt.NDArray[np.bool_]) -> RankedScores:
    """Return rows in the order of their scores for a label."""
    order_N = np.argsort(scores_N, kind="stable")
    rises_N = np.diff(scores_N[order_N], prepend=scores_N[order_N[:1]]) > 0
    return RankedScores(order_N, np.cumsum(rises_N), positive_N[order_N])


def area_under(ranking: RankedScores, weights_N: Floats) -> float:
    """Return the Mann-Whitney statistic of weighted rows, by all pairs; nan without pairs."""
    ordered_N = weights_N[ranking.order_N]
    positive_K = np.bincount(ranking.level_N, ordered_N * ranking.positive_N)
    negative_K = np.bincount(ranking.level_N, ordered_N) - positive_K
    pairs = positive_K.sum() * negative_K.sum()
    below_K = np.cumsum(negative_K) - negative_K / 2
    return float(positive_K @ below_K / pairs) if pairs > 0 else float("nan")
