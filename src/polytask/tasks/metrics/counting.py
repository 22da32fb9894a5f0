"""Precision, recall and F1 from counts of hits, predictions and references.

Labels, label sets and spans are counted alike: rows hold *items*, each of a class. An item is a hit
if it is among the references and the predictions of the same row.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from polytask.tasks.metrics.base import Floats

Average: TypeAlias = Literal["macro", "micro", "weighted"]
"""How classes become one number: their mean, all items together, or a mean by references."""

Rate: TypeAlias = Literal["precision", "recall", "f1"]

_HIT, _PREDICTED, _ACTUAL = range(3)


@dataclass(frozen=True)
class Totals:
    """Hits, predictions and references of every class."""

    counts_3C: Floats
    classes: tuple[str, ...]
    has_rows: bool = True


@dataclass(frozen=True)
class Counts:
    """The M events of N rows, each a hit, a prediction or a reference of a class.

    :param rows_M: Row of each event.
    :param codes_M: ``kind * C + class`` of each event.
    :param classes: The C classes among references and predictions.
    """

    rows_M: npt.NDArray[np.int64]
    codes_M: npt.NDArray[np.int64]
    classes: tuple[str, ...]

    def total(self, weights_N: Floats) -> Totals:
        """Count the events of rows that are repeated ``weights_N`` times."""
        size = len(self.classes)
        counts = np.bincount(self.codes_M, weights_N[self.rows_M], minlength=3 * size)
        counts_3C = counts.astype(np.float64).reshape(3, size)
        return Totals(counts_3C, self.classes, bool(weights_N.any()))


def count_items(
    references: Iterable[Iterable[Hashable]],
    predictions: Iterable[Iterable[Hashable]],
    class_of: Callable[[Any], str],
) -> Counts:
    """Count the items of every row; an item that repeats in a row counts once.

    :param class_of: The class of an item.
    """
    events: list[tuple[int, int, str]] = []
    for row, (reference, prediction) in enumerate(zip(references, predictions, strict=True)):
        actual, predicted = set(reference), set(prediction)
        for kind, items in enumerate((actual & predicted, predicted, actual)):
            events += [(row, kind, class_of(item)) for item in items]
    classes = tuple(sorted({name for _, _, name in events}))
    place = {name: position for position, name in enumerate(classes)}
    rows_M = np.array([row for row, _, _ in events], dtype=np.int64)
    codes = [kind * len(classes) + place[name] for _, kind, name in events]
    return Counts(rows_M, np.array(codes, dtype=np.int64), classes)


def score(rate: Rate, totals: Totals, average: Average, label: str | None) -> float:
    """Return the rate of one class if a label is given, else one number for all classes.

    Macro is the mean over the classes that occur among references or predictions, as in
    scikit-learn, not over the whole label set. It is nan without classes, as are all without rows.
    """
    if not totals.has_rows:
        return float("nan")
    if label is not None:
        return of_class(rate, totals, label)
    counts_3C = totals.counts_3C
    if average == "micro":
        return float(_RATES[rate](*counts_3C.sum(axis=1, keepdims=True))[0])
    present_C = counts_3C[_PREDICTED] + counts_3C[_ACTUAL] > 0
    shares_C = counts_3C[_ACTUAL] if average == "weighted" else present_C.astype(np.float64)
    if not present_C.any():
        return float("nan")
    total = shares_C.sum()
    return float(_RATES[rate](*counts_3C) @ shares_C / total) if total else 0.0


def of_class(rate: Rate, totals: Totals, label: str) -> float:
    """Return the rate of one class: 0 if it occurs nowhere, nan without rows."""
    if not totals.has_rows:
        return float("nan")
    if label not in totals.classes:
        return 0.0
    place = totals.classes.index(label)
    return float(_RATES[rate](*totals.counts_3C[:, place : place + 1])[0])


def why_nothing_to_find(classes: Collection[str], label: str | None) -> str | None:
    """Return the reason why references of these classes hold nothing to find; None if they do."""
    if label is not None and label not in classes:
        return f"no row has the label {label!r}"
    return None if classes else "all rows are without labels"


def _precision(hits_C: Floats, predicted_C: Floats, actual_C: Floats) -> Floats:
    """Return the share of predictions that are right; 0 without predictions."""
    return _ratio(hits_C, predicted_C)


def _recall(hits_C: Floats, predicted_C: Floats, actual_C: Floats) -> Floats:
    """Return the share of references that were predicted; 0 without references."""
    return _ratio(hits_C, actual_C)


def _f1(hits_C: Floats, predicted_C: Floats, actual_C: Floats) -> Floats:
    """Return the harmonic mean of precision and recall; 0 without hits."""
    return _ratio(2 * hits_C, predicted_C + actual_C)


def _ratio(part_C: Floats, whole_C: Floats) -> Floats:
    """Return ``part / whole``, 0 where the whole is 0."""
    return np.divide(part_C, whole_C, out=np.zeros_like(whole_C), where=whole_C > 0)


_RATES: dict[Rate, Callable[[Floats, Floats, Floats], Floats]] = {
    "precision": _precision,
    "recall": _recall,
    "f1": _f1,
}
