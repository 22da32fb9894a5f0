"""Precision, recall and F1 of labels.

Definitions of scikit-learn with ``zero_division=0``; labels that occur only in references count.
https://scikit-learn.org/stable/modules/model_evaluation.html#precision-recall-f-measure-metrics
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from typing import Any, ClassVar, final

import numpy as np
from typing_extensions import override

from polytask.tasks.labels import Label
from polytask.tasks.metrics import counting
from polytask.tasks.metrics.base import Floats, Metric, Rows, known_label, metrics
from polytask.tasks.metrics.counting import Average, Counts, Rate


class _ClassScore(Metric, ABC):
    """A rate per class, averaged or of one class.

    :param average: ``macro`` is the mean over the classes among references or predictions,
        ``micro`` counts all rows together, ``weighted`` is a mean by number of references.
    :param label: The one class to measure, instead of an average.
    """

    forms = ("label", "labels")
    rate: ClassVar[Rate]

    def __init__(
        self, labels: Sequence[str], /, *, average: Average = "macro", label: Label | None = None
    ) -> None:
        super().__init__(labels)
        self.average: Average = average
        self.label = None if label is None else known_label(label, self.label_set)

    @property
    @override
    def name(self) -> str:
        return f"{self.average}_{self.rate}" if self.label is None else f"{self.rate}_{self.label}"

    @override
    def evidence(self, references: Rows, predictions: Rows, probabilities: Rows) -> Counts:
        return _count_labels(references, predictions)

    @override
    def value(self, evidence: Counts, weights_N: Floats) -> float:
        return counting.score(self.rate, evidence.total(weights_N), self.average, self.label)

    @override
    def why_uninformative(self, references: Sequence[Any]) -> str | None:
        classes = self.evidence(references, references, ()).classes
        none = counting.why_nothing_to_find(classes, self.label)
        return super().why_uninformative(references) or none


@final
@metrics.register("precision")
class Precision(_ClassScore):
    """The share of predicted labels that are right."""

    rate = "precision"


@final
@metrics.register("recall")
class Recall(_ClassScore):
    """The share of reference labels that were predicted."""

    rate = "recall"


@final
@metrics.register("f1")
class F1(_ClassScore):
    """The harmonic mean of precision and recall."""

    rate = "f1"


@final
@metrics.register("mean_f1")
class MeanF1(Metric):
    """The mean of the F1 of some labels, as in stance detection (against and favor).

    Mohammad et al., "SemEval-2016 Task 6", section 4. https://aclanthology.org/S16-1003

    :param labels: The labels whose F1 is averaged; the others count only as mistakes.
    """

    forms = ("label", "labels")

    def __init__(self, label_set: Sequence[str], /, *, labels: list[Label]) -> None:
        super().__init__(label_set)
        self.labels = [known_label(label, self.label_set) for label in labels]

    @property
    @override
    def name(self) -> str:
        return "_".join(["mean_f1", *self.labels])

    @override
    def evidence(self, references: Rows, predictions: Rows, probabilities: Rows) -> Counts:
        return _count_labels(references, predictions)

    @override
    def value(self, evidence: Counts, weights_N: Floats) -> float:
        totals = evidence.total(weights_N)
        return float(np.mean([counting.of_class("f1", totals, one) for one in self.labels]))

    @override
    def why_uninformative(self, references: Sequence[Any]) -> str | None:
        classes = _count_labels(references, references).classes
        none = [counting.why_nothing_to_find(classes, label) for label in self.labels]
        return super().why_uninformative(references) or next(filter(None, none), None)


def _count_labels(references: Sequence[Any], predictions: Sequence[Any]) -> Counts:
    """Count labels, one per row or a list of them."""
    rows = [
        [[label] if isinstance(label, str) else label for label in column]
        for column in (references, predictions)
    ]
    return counting.count_items(rows[0], rows[1], str)
