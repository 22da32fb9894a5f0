"""Shares of right answers: accuracy and exact match."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple, final

import numpy as np
from typing_extensions import override

from polytask.tasks.metrics.base import Floats, Metric, Rows, metrics


class Agreement(NamedTuple):
    """The number of right answers and of all answers of each row."""

    right_N: Floats
    total_N: Floats


class AgreementMetric(Metric, ABC):
    """The share of right answers."""

    @abstractmethod
    def compare(self, reference: Any, prediction: Any) -> tuple[int, int]:
        """Return the number of right answers of a row, and of all its answers."""

    @override
    def evidence(self, references: Rows, predictions: Rows, probabilities: Rows) -> Agreement:
        counts = list(map(self.compare, references, predictions))
        right_N, total_N = np.array(counts, dtype=np.float64).reshape(-1, 2).T
        return Agreement(right_N.copy(), total_N.copy())

    @override
    def value(self, evidence: Agreement, weights_N: Floats) -> float:
        asked = float(evidence.total_N @ weights_N)
        return float(evidence.right_N @ weights_N) / asked if asked else float("nan")

    @override
    def why_uninformative(self, references: Sequence[Any]) -> str | None:
        asked = any(self.compare(reference, reference)[1] for reference in references)
        return super().why_uninformative(references) or (None if asked else "no row has words")


@final
@metrics.register("accuracy")
class Accuracy(AgreementMetric):
    """The share of right labels; in tagging, of words with the right tag."""

    forms = ("label", "choice", "tags", "words")
    name = "accuracy"

    @override
    def compare(self, reference: Any, prediction: Any) -> tuple[int, int]:
        if isinstance(reference, str):
            return int(reference == prediction), 1
        right = (gold == tag for gold, tag in zip(reference, prediction, strict=True))
        return sum(right), len(reference)


@final
@metrics.register("exact_match")
class ExactMatch(AgreementMetric):
    """The share of rows in which everything is right: all labels, all tags, all tasks of a row."""

    forms = ("label", "choice", "labels", "tags", "words", "tree")
    name = "exact_match"

    @override
    def compare(self, reference: Any, prediction: Any) -> tuple[int, int]:
        return int(reference == prediction), 1
