"""Labels as text: how they are written, compared, ordered and counted."""

from __future__ import annotations

import ast
import difflib
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Self, TypeAlias

from polytask.core.errors import DataError

Label: TypeAlias = str | bool | int | float
"""A label as a recipe or a data file may write it."""

_WHOLE = re.compile(r"(-?)(0|[1-9][0-9]*)(?:\.0+)?")
"""A whole number as text, with or without zeros after a decimal point."""


def label_text(value: Any) -> str:
    """Return a label as text, equal in all file formats.

    ``1``, ``1.0``, "1" and "1.00" become "1", ``True`` becomes "true". Other text stays as it is:
    "007", "1e3", "1.10" and "True" are labels of that spelling.

    :raises DataError: If the value is no label.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        value = str(int(value) if value == int(value) else value)
    if not isinstance(value, str):
        raise DataError(f"expected a label (text, a number or a boolean), found {value!r}")
    whole = _WHOLE.fullmatch(value)
    if whole is None:
        return value
    sign, digits = whole.groups()
    return digits if digits == "0" else sign + digits


def is_blank(value: Any) -> bool:
    """Return whether a cell holds no label: null, or text without any visible character."""
    return value is None or (isinstance(value, str) and not value.strip())


def require_no_list(text: str) -> None:
    """Refuse text that spells a list, as pandas writes lists to CSV: "['a', 'b']".

    :raises DataError: Says how to keep lists.
    """
    if not (text.lstrip().startswith("[") and text.rstrip().endswith("]")):
        return
    try:
        items = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        return
    if items and all(isinstance(one, str | int | float) for one in items):
        raise DataError(
            f"expected a list, or text with a delimiter, found text that spells a list, {text!r}. "
            "Save the table as JSON Lines or Parquet, which keep lists"
        )


@lru_cache(maxsize=65536)
def label_form(label: str) -> str:
    """Return the form that labels have in common which a person would read as one.

    Case, white space, Unicode compatibility forms and invisible characters do not count.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).casefold())
    visible = "".join(one for one in folded if unicodedata.category(one) != "Cf")
    return label_text(" ".join(visible.replace("\ufe0f", "").split()))


def nearly_equal(label: str, labels: Iterable[str]) -> str | None:
    """Return the label that differs from this one only in case, white space or Unicode form."""
    form = label_form(label)
    return next((one for one in labels if one != label and label_form(one) == form), None)


def near_equal_groups(labels: Iterable[str]) -> list[list[str]]:
    """Return the groups of two or more labels that are nearly equal, each in label order."""
    groups: dict[str, list[str]] = {}
    for label in sorted(labels, key=label_order):
        groups.setdefault(label_form(label), []).append(label)
    return [group for group in groups.values() if len(group) > 1]


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
    def of(cls, labels: Iterable[str] | Mapping[str, int]) -> Self:
        """Those of training rows, one after the other or with their numbers; empty without any."""
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
    """Return the message for a label outside a label set."""
    names = ", ".join(list(known)[:shown]) + (", ..." if len(known) > shown else "")
    return f"no label {label!r}.{did_you_mean(label, known)} Labels: {names}."


def merge_hint(label: str, known: Iterable[str]) -> str:
    """Return the advice to merge a label with a known one that is nearly equal, or nothing."""
    near = nearly_equal(label, known)
    if near is None:
        return ""
    return (
        f" It differs from {near!r} only in case, white space or Unicode form. To read them as one "
        "label, set merge_labels: true."
    )


def balance_weights(counts_C: Sequence[int]) -> list[float]:
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


def given_weights(labels: Sequence[str], weights: Sequence[tuple[str, float]]) -> list[float]:
    """Weights from a recipe in the order of the labels; 1 where none is given.

    :raises KeyError: With a message, if a label is unknown or has two weights.
    """
    named = dict(weights)
    for label, count in Counter(label for label, _ in weights).items():
        if label not in labels:
            raise KeyError(unknown_label(label, labels))
        if count > 1:
            raise KeyError(f"{label!r} is given twice")
    return [float(named.get(label, 1.0)) for label in labels]
