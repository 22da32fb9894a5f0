"""The interface of a metric: per-row evidence, and a value of its weighted rows.

Every metric is computed from rows with whole-number weights, so that the bootstrap is the same
code as the score: a resample is a vector of weights.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from polytask.core.errors import RecipeError
from polytask.core.registry import Registry
from polytask.tasks.labels import Label, label_text, unknown_label

Floats = npt.NDArray[np.float64]


class Metric(ABC):
    """One number about the predictions of a task.

    :param labels: The label set of the task, in the order of its probabilities; may be empty.
    """

    forms: ClassVar[Sequence[str]] = ()
    """The forms of references it measures: label, labels, tags, words, ...; empty: any."""

    higher_is_better: ClassVar[bool] = True
    needs_probabilities: ClassVar[bool] = False

    beside: ClassVar[bool] = False
    """Whether it is no share of anything, and so counts in averages only where all are such."""

    def __init__(self, labels: Sequence[str], /) -> None:
        self.label_set = tuple(labels)

    @classmethod
    def measures(cls, form: str) -> bool:
        """Whether it is defined for references of that form; an empty form is not checked."""
        return not (form and cls.forms) or form in cls.forms

    @property
    @abstractmethod
    def name(self) -> str:
        """Name in tables and score files: ``accuracy``, ``macro_f1``, ``f1_irony``, ..."""

    @abstractmethod
    def evidence(
        self, references: Sequence[Any], predictions: Sequence[Any], probabilities: Sequence[Floats]
    ) -> Any:
        """Everything about N rows that ``value`` needs, gathered once.

        :param probabilities: Empty unless ``needs_probabilities``.
        """

    @abstractmethod
    def value(self, evidence: Any, weights_N: Floats) -> float:
        """The metric over rows that count ``weights_N`` times; nan where it is undefined."""

    def __call__(
        self,
        references: Sequence[Any],
        predictions: Sequence[Any],
        probabilities: Sequence[Floats] = (),
    ) -> float:
        """The metric over all rows."""
        evidence = self.evidence(references, predictions, probabilities)
        return self.value(evidence, np.ones(len(references)))


def known_label(label: Label, labels: Sequence[str]) -> str:
    """A label that a recipe names, as text.

    :param labels: The label set; empty if it is not known.
    :raises RecipeError: If it is not in the label set.
    """
    text = label_text(label)
    if labels and text not in labels:
        raise RecipeError([f"metrics: {unknown_label(text, labels)}"])
    return text


metrics: Registry[Metric] = Registry("metric", Metric)
