"""Labels as text: how they are written, ordered and counted."""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self, TypeAlias

from polytask.core.errors import DataError

Label: TypeAlias = str | bool | int
"""A label as a recipe or a data file may write it."""


def label_text(value: Any) -> str:
    """A label as text: ``1`` and ``1.0`` become "1", ``True`` becomes "true", text stays as it is.

    :raises DataError: If the value is no label.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return str(int(value))
    raise DataError(f"expected a label (text, a whole number or a boolean), found {value!r}")


def label_order(label: str) -> tuple[bool, float, str]:
    """Sort key: numbers by value and before words, words by code point."""
    try:
        number = float(label)
    except ValueError:
        number = math.nan
    return (False, number, label) if math.isfinite(number) else (True, 0.0, label)


@dataclass(frozen=True)
class LabelSet:
    """The labels that a task has seen in training, in the order of their numbers.

    :param filler: The most frequent one: what is said of words that an encoder cut off.
    """

    names: tuple[str, ...] = ()
    filler: str = ""

    @classmethod
    def of(cls, labels: Iterable[str]) -> Self:
        """Those of training rows, one after the other; an empty set if there are none."""
        counts = Counter(labels)
        names = sorted(counts, key=label_order)
        return cls(tuple(names), max(names, key=lambda name: counts[name], default=""))

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each."""
        return {name: number for number, name in enumerate(self.names)}

    def __len__(self) -> int:
        return len(self.names)

    def state(self) -> dict[str, Any]:
        """What ``restore`` needs, for JSON."""
        return {"labels": list(self.names), "filler": self.filler}

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Self:
        """Undo ``state``."""
        return cls(tuple(state["labels"]), state["filler"])


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` with the nearest known name, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def unknown_label(label: str, known: Collection[str], shown: int = 20) -> str:
    """The message for a label outside a label set."""
    names = ", ".join(list(known)[:shown]) + (", ..." if len(known) > shown else "")
    return f"no label {label!r}.{did_you_mean(label, known)} Labels: {names}."


def balanced_weights(counts_C: Sequence[int]) -> list[float]:
    """Weights that give every class the same total: N / (C * n_c), with a mean of 1 over the rows.

    King and Zeng, "Logistic Regression in Rare Events Data", Political Analysis 2001.
    https://doi.org/10.1093/oxfordjournals.pan.a004868

    :param counts_C: Rows of each class; a class without rows gets weight 1 and counts for nothing.
    """
    present = sum(count > 0 for count in counts_C)
    total = sum(counts_C)
    return [total / (present * count) if count else 1.0 for count in counts_C]


def positive_weights(counts_C: Sequence[int], rows: int) -> list[float]:
    """Weights of the positive rows of each label that balance them with the negative ones.

    :param counts_C: Rows that carry each label; a label on no row, or on all, gets weight 1.
    :param rows: Number of rows, N.
    """
    return [(rows - count) / count if 0 < count < rows else 1.0 for count in counts_C]


def given_weights(labels: Sequence[str], weights: Mapping[Label, float]) -> list[float]:
    """Weights from a recipe in the order of the labels; 1 where none is given.

    :raises KeyError: With a message, if a weight is given for an unknown label.
    """
    named = {label_text(label): float(weight) for label, weight in weights.items()}
    for label in named:
        if label not in labels:
            raise KeyError(unknown_label(label, labels))
    return [named.get(label, 1.0) for label in labels]
