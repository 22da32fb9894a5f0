"""The interface of a metric: evidence of every row, and the value over weighted rows.

Every metric is computed from rows with whole-number weights. The bootstrap is the same code as the
score, since a resample is a vector of weights.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from polytask.core.errors import RecipeError
from polytask.core.registry import Registry
from polytask.tasks.labels import Label, label_text, unknown_label

Floats = npt.NDArray[np.float64]

Rows: TypeAlias = Sequence[Any]
"""One value for each of N rows; probabilities are arrays, one number for each label."""


class Metric(ABC):
    """One number about the predictions of a task.

    :param labels: The label set of the task, in the order of its probabilities; may be empty.
    """

    forms: ClassVar[Sequence[str]] = ()
    """The label types that the metric measures: label, labels, tags, ...; any if empty."""

    higher_is_better: ClassVar[bool] = True
    needs_probabilities: ClassVar[bool] = False

    beside: ClassVar[bool] = False
    """True for metrics without an upper bound. An average holds only these, or none of them."""

    group: str | None = None
    """The column whose equal values form a group of rows, for metrics of groups."""

    def __init__(self, labels: Sequence[str], /) -> None:
        self.label_set = tuple(labels)

    @classmethod
    def measures(cls, form: str) -> bool:
        """Return whether the metric is defined for a label type; an empty type is not checked."""
        return not (form and cls.forms) or form in cls.forms

    @property
    @abstractmethod
    def name(self) -> str:
        """The name in tables and score files: ``accuracy``, ``macro_f1``, ``f1_irony``, ..."""

    @abstractmethod
    def evidence(self, references: Rows, predictions: Rows, probabilities: Rows) -> Any:
        """Return everything about N rows that ``value`` needs, computed once.

        :param probabilities: Empty unless ``needs_probabilities``.
        """

    def gather_evidence(
        self, references: Rows, predictions: Rows, probabilities: Rows, groups: Sequence[Hashable]
    ) -> Any:
        """Return ``evidence``, given the group of every row. Only metrics of groups use the groups.

        :param groups: Equal within a group; empty if ``group`` is None.
        """
        return self.evidence(references, predictions, probabilities)

    @abstractmethod
    def value(self, evidence: Any, weights_N: Floats) -> float:
        """Return the metric over rows that count ``weights_N`` times; nan where it is undefined.

        Without rows, or if all weights are 0, every metric is undefined.
        """

    def why_uninformative(self, references: Sequence[Any]) -> str | None:
        """Return why the metric cannot tell predictions for these references apart, or None.

        The reason is a clause without a full stop: "all numbers are equal".
        """
        return None if len(references) else "no row has a label"

    def __call__(
        self,
        references: Rows,
        predictions: Rows,
        probabilities: Rows = (),
        groups: Sequence[Hashable] = (),
    ) -> float:
        """Return the metric over all rows; nan without rows."""
        if not len(references):
            return float("nan")
        evidence = self.gather_evidence(references, predictions, probabilities, groups)
        return self.value(evidence, np.ones(len(references)))


class RowMeanMetric(Metric, ABC):
    """The mean of one score per row, over the rows for which the score is defined."""

    @abstractmethod
    def row_score(self, reference: Any, prediction: Any) -> float:
        """Return the score of one row; nan if it is undefined."""

    @override
    def evidence(self, references: Rows, predictions: Rows, probabilities: Rows) -> Floats:
        pairs = zip(references, predictions, strict=True)
        return np.array([self.row_score(*pair) for pair in pairs], np.float64)

    @override
    def value(self, evidence: Floats, weights_N: Floats) -> float:
        return mean_of_defined(evidence, weights_N)


def mean_of_defined(values_N: Floats, weights_N: Floats) -> float:
    """Return the weighted mean over rows that have a value; nan if none is left."""
    counted_N = weights_N * ~np.isnan(values_N)
    total = counted_N.sum()
    return float(np.nan_to_num(values_N) @ counted_N / total) if total else float("nan")


def one_label(references: Sequence[Any]) -> str | None:
    """Return the reason if all rows have the same label, else None."""
    known = {*references}
    return f"all rows have the label {references[0]!r}" if len(known) == 1 else None


def known_label(label: Label, labels: Sequence[str]) -> str:
    """Return a label of a recipe as text.

    :param labels: The label set; empty if it is not known.
    :raises RecipeError: If it is not in the label set.
    """
    text = label_text(label)
    if labels and text not in labels:
        raise RecipeError([f"metrics: {unknown_label(text, labels)}"])
    return text


metrics: Registry[Metric] = Registry("metric", Metric)
