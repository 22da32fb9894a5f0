"""How often a prediction is its reference."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple, final

import numpy as np
from typing_extensions import override

from polytask.tasks.metrics.base import Floats, Metric, metrics


class Agreement(NamedTuple):
    """Right answers of each row, and answers asked for."""

    right_N: Floats
    asked_N: Floats


class AgreementMetric(Metric, ABC):
    """The share of right answers."""

    @abstractmethod
    def compare(self, reference: Any, prediction: Any) -> tuple[int, int]:
        """The number of right answers in a row, and of answers asked for."""

    @override
    def evidence(
        self, references: Sequence[Any], predictions: Sequence[Any], probabilities: Sequence[Floats]
    ) -> Agreement:
        counts = list(map(self.compare, references, predictions))
        right_N, asked_N = np.array(counts, dtype=np.float64).reshape(-1, 2).T
        return Agreement(right_N.copy(), asked_N.copy())

    @override
    def value(self, evidence: Agreement, weights_N: Floats) -> float:
        asked = float(evidence.asked_N @ weights_N)
        return float(evidence.right_N @ weights_N) / asked if asked else float("nan")

    @override
    def why_uninformative(self, references: Sequence[Any]) -> str | None:
        asked = any(self.compare(reference, reference)[1] for reference in references)
        return super().why_uninformative(references) or (None if asked else "no row has words")


@final
@metrics.register("accuracy")
class Accuracy(AgreementMetric):
    """The share of right labels; of tagging, the share of right words."""

    forms = ("label", "choice", "tags", "words")

    @property
    @override
    def name(self) -> str:
        return "accuracy"

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

    @property
    @override
    def name(self) -> str:
        return "exact_match"

    @override
    def compare(self, reference: Any, prediction: Any) -> tuple[int, int]:
        return int(reference == prediction), 1
