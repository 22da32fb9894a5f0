"""The kinds of input that have a baseline, and how rows of each become a matrix."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from polytask.analysis.linear_features import (
    Counts,
    Design,
    LabelUnits,
    TermDesign,
    TermReading,
    TextReading,
    WordReading,
    count,
)
from polytask.analysis.linear_models import NUMBER_MODELS, TERM_MODELS, TREE_MODELS, LinearModel
from polytask.analysis.linear_numbers import (
    NumberDesign,
    TreeDesign,
    cell_rows,
    compute_pixels,
    compute_spectrum,
    describe_values,
    flatten_array,
)
from polytask.core.batch import Fields
from polytask.core.columns import ColumnType

Rows: TypeAlias = Sequence[Fields]
Types: TypeAlias = Sequence[ColumnType]


@dataclass(frozen=True)
class Method:
    """How the numbers of rows become a matrix, and the models that learn from it.

    :param design: Called with the training rows of every task, ``private`` and ``types``.
    :param models: The model for every type of labels (see ``Task.label_type``).
    """

    design: Callable[..., Design]
    models: Mapping[str, type[LinearModel]]


@dataclass(frozen=True)
class Kind:
    """Rows of one kind.

    :param describe: Returns what rows hold in numbers, from the reading of each block of rows, the
        blocks, and the types of their columns.
    :param linear: Linear models.
    :param trees: Boosted trees; None where they do not suit.
    """

    describe: Callable[[Sequence[LabelUnits], Sequence[Rows], Types], list[Counts]]
    linear: Method
    trees: Method | None = None


def kind_of(types: Types, label_type: str) -> Kind | str:
    """Return the kind of the rows of a task, or the reason why it has no baseline.

    :param types: The types of the input columns.
    :param label_type: The type of the labels (see ``Task.label_type``).
    """
    found = frozenset(types)
    kind = next((kind for types_of_kind, kind in _KINDS.items() if found <= types_of_kind), None)
    if kind is not None and label_type in kind.linear.models:
        return kind
    return f"reads {' and '.join(sorted(found))}, predicts {label_type or 'something else'}"


def choose_reading(kind: Kind, label_type: str, training: Rows) -> LabelUnits:
    """Return what of a row gets a label."""
    if kind is not _TEXTS:
        return LabelUnits()
    return WordReading() if label_type == "tags" else TextReading(training)


def _terms(readings: Sequence[LabelUnits], blocks: Sequence[Rows], types: Types) -> list[Counts]:
    pairs = zip(readings, blocks, strict=True)
    return count([one.columns(rows) for one, rows in pairs if isinstance(one, TermReading)])


_NUMBERS = Method(NumberDesign, NUMBER_MODELS)
_TEXTS = Kind(_terms, Method(TermDesign, TERM_MODELS))
_KINDS: Mapping[frozenset[ColumnType], Kind] = {
    frozenset({"text", "words"}): _TEXTS,
    # Beside numbers, a text is a category: that is how tables write them.
    frozenset({"number", "category", "text"}): Kind(
        cell_rows, _NUMBERS, Method(TreeDesign, TREE_MODELS)
    ),
    frozenset({"image"}): Kind(partial(describe_values, compute_pixels), _NUMBERS),
    frozenset({"audio"}): Kind(partial(describe_values, compute_spectrum), _NUMBERS),
    frozenset({"array"}): Kind(partial(describe_values, flatten_array), _NUMBERS),
}
