"""Precision, recall and F1 of spans: a span is right if its label and both its ends are.

Equal to seqeval in its default mode, which follows the CoNLL evaluation script (Tjong Kim Sang and
Buchholz, CoNLL 2000), and read for BMES and its other spellings as well.
https://aclanthology.org/W00-0726
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any, ClassVar, final

from typing_extensions import override

from polytask.tasks.labels import Label
from polytask.tasks.metrics import counting
from polytask.tasks.metrics.base import Floats, Metric, Rows, known_label, metrics
from polytask.tasks.metrics.counting import Average, Counts, Rate
from polytask.tasks.spans import read_spans, span_label


class ItemScore(Metric, ABC):
    """A rate of labelled items, over all of them, averaged over their labels, or of one label.

    :param average: ``micro`` counts all of them together, ``macro`` is the mean over the labels
        among references or predictions, ``weighted`` is a mean by number of references.
    :param label: The one label to measure, instead of an average.
    """

    what: ClassVar[str]
    """The kind of item, for the name of the metric."""

    rate: ClassVar[Rate]

    def __init__(
        self, labels: Sequence[str], /, *, average: Average = "micro", label: Label | None = None
    ) -> None:
        super().__init__(labels)
        self.average: Average = average
        self.label = None if label is None else known_label(label, self.item_labels(labels))

    @property
    @override
    def name(self) -> str:
        name = f"{self.what}_{self.rate}"
        if self.label is not None:
            return f"{name}_{self.label}"
        return name if self.average == "micro" else f"{self.average}_{name}"

    def item_labels(self, labels: Sequence[str]) -> Sequence[str]:
        """Return the labels that items may have, given the label set of the task."""
        return labels

    @abstractmethod
    def items(self, row: Any) -> Iterable[Any]:
        """Return the items of a row, each with its ``label``."""

    @override
    def evidence(self, references: Rows, predictions: Rows, probabilities: Rows) -> Counts:
        rows = [map(self.items, column) for column in (references, predictions)]
        return counting.count_items(rows[0], rows[1], attrgetter("label"))

    @override
    def value(self, evidence: Counts, weights_N: Floats) -> float:
        return counting.score(self.rate, evidence.total(weights_N), self.average, self.label)

    @override
    def why_uninformative(self, references: Sequence[Any]) -> str | None:
        classes = self.evidence(references, references, ()).classes
        none = counting.why_nothing_to_find(classes, self.label)
        return super().why_uninformative(references) or none


class _SpanScore(ItemScore, ABC):
    forms = ("tags",)
    what = "span"

    @override
    def item_labels(self, labels: Sequence[str]) -> Sequence[str]:
        return sorted({span_label(tag)[1] for tag in labels} - {""})

    @override
    def items(self, row: Any) -> Iterable[Any]:
        return read_spans(row)


@final
@metrics.register("span_precision")
class SpanPrecision(_SpanScore):
    """The share of predicted spans that are right."""

    rate = "precision"


@final
@metrics.register("span_recall")
class SpanRecall(_SpanScore):
    """The share of reference spans that were predicted."""

    rate = "recall"


@final
@metrics.register("span_f1")
class SpanF1(_SpanScore):
    """The harmonic mean of the precision and the recall of spans."""

    rate = "f1"
