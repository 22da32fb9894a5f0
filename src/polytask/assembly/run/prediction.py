"""New rows in windows, and the records of what is predicted for them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice, repeat
from typing import Any, TypeAlias, TypeVar

import numpy as np

from polytask.assembly.data.new_rows import ROW_OPTIONS, NewRows, readable_views, require_mappings
from polytask.assembly.data.pools import new_pool
from polytask.assembly.data.views import View
from polytask.core.batch import Row
from polytask.core.encoder import Encoder
from polytask.core.errors import DataError, RecipeError
from polytask.data.memory_pool import MemoryPool
from polytask.data.pools import Collation, read_error
from polytask.data.rows import RowInMemory, each_row
from polytask.data.tables import Table
from polytask.tasks import Predictions

Record: TypeAlias = dict[str, dict[str, Any]]
"""Task to ``label`` and, where the task has them, ``confidence`` (a number, or one for each part of the
label) and ``probabilities`` (label to number); or to ``vector``, a list of numbers. A row that a task
cannot read has None for ``label`` or ``vector``, and an ``error``."""

WINDOWS: tuple[int, ...] = (256, 1024, 4096)
"""Rows of the first window, the second, and all others; one window is in memory at a time.

Rows of a window are sorted by length, so large ones need less padding: of 5,000 tweets in batches of 2,730
tokens 4 %, against 18 % in windows of 256, and 2 % in one window. The first window is small, so that its
records come early."""

T = TypeVar("T")
Note: TypeAlias = Callable[[str], object]
"""Called with a sentence for people."""

_CHANGES = "only how new files are read can be changed, as in --set data.NAME.delimiter=';'."


@dataclass(frozen=True)
class RecordOptions:
    """The content of a record.

    :param top_k: Number of labels that have a probability, most probable first; None for all
        labels, in the order of the label set.
    :param probabilities: Give probabilities.
    :param vectors: Give the features that each task reads, averaged over tokens, instead of labels.
    """

    top_k: int | None = None
    probabilities: bool = True
    vectors: bool = False

    def __post_init__(self) -> None:
        if self.top_k is not None and self.top_k < 1:
            raise RecipeError([f"top_k: found {self.top_k}, expected 1 or more, or None for all."])

    def record(self, found: Predictions, row: int, labels: Sequence[str]) -> dict[str, Any]:
        """Return what was predicted for a row."""
        if self.vectors:
            return {"vector": found.labels[row]}
        certainty = found.certainty(row, labels, self.top_k if self.probabilities else 0)
        return {"label": found.labels[row], **certainty}

    def refused_record(self, error: str) -> dict[str, Any]:
        """Return the record of a row that cannot be read."""
        return {"vector" if self.vectors else "label": None, "error": error}


@dataclass(frozen=True)
class WindowRows:
    """The rows of a window as one view reads them.

    :param where: Returns the place of the row at a position, for messages.
    """

    view: View
    rows: Sequence[Row]
    where: Callable[[int], str]

    def prepare(self, encoder: Encoder) -> PreparedRows:
        """Return the rows as an encoder reads them."""
        return PreparedRows(self, *new_pool(self.view, self.rows, self.where, encoder))


@dataclass(frozen=True)
class PreparedRows:
    """The rows of a part that can be read, ready for the model.

    :param refused: By position, the error of every other row.
    """

    part: WindowRows
    pool: MemoryPool
    refused: Mapping[int, str]

    def readable(self, collation: Collation) -> PreparedRows:
        """Return the rows that can be read for a batch: an image may turn out to be broken."""
        kept = [row for row in range(len(self.part.rows)) if row not in self.refused]
        errors = [read_error(row, collation) for row in self.pool.rows]
        pairs = [*zip(kept, errors, strict=True)]
        refused = {row: error for row, error in pairs if error}
        rows_n = np.array([at for at, error in enumerate(errors) if error is None], dtype=np.int64)
        return replace(self, pool=self.pool.select(rows_n), refused={**self.refused, **refused})

    def records(
        self, found: Predictions, wanted: RecordOptions, labels: Sequence[str]
    ) -> Iterator[dict[str, Any]]:
        """Yield the record of every row, in order."""
        numbers = iter(range(len(self.pool)))
        for row in range(len(self.part.rows)):
            if row in self.refused:
                yield wanted.refused_record(self.refused[row])
            else:
                yield wanted.record(found, next(numbers), labels)


def windows_of_rows(
    rows: Iterable[Row], views: Sequence[View], note: Note
) -> Iterator[Sequence[WindowRows]]:
    """Yield windows of rows from memory; the first window decides which views read them.

    :raises DataError: If no view can, or a row is not a mapping.
    """
    readable: Sequence[View] | None = None
    for window in _windows(enumerate(rows)):
        found = [row for _, row in window]
        require_mappings(found)
        if readable is None:
            readable, notes = readable_views(views, found)
            for text in notes:
                note(text)
        yield [_part(view, found, window[0][0]) for view in readable]


def _part(view: View, rows: Sequence[Row], first: int) -> WindowRows:
    typed = [RowInMemory(row, view.types) for row in rows]
    return WindowRows(view, typed, lambda position: f"rows[{first + position}]")


def windows_of_tables(tables: Sequence[NewRows]) -> Iterator[Sequence[WindowRows]]:
    """Yield windows of the rows of a file, which may have been read in several ways."""
    readers = [(own, each_row(own.table)) for own in tables if own.views]
    for own, _ in readers:
        for view in own.views:
            view.require_columns(own.table)
    for windows in zip(*(_windows(rows) for _, rows in readers), strict=True):
        yield [
            WindowRows(view, rows, partial(_place, own.table, rows))
            for (own, _), rows in zip(readers, windows, strict=True)
            for view in own.views
        ]


def _windows(rows: Iterable[T]) -> Iterator[list[T]]:
    """Yield rows a window at a time."""
    left = iter(rows)
    for size in chain(WINDOWS, repeat(WINDOWS[-1])):
        window = [*islice(left, size)]
        if not window:
            return
        yield window


def _place(table: Table, rows: Sequence[Row], position: int) -> str:
    return table.place_of(rows[position])


@dataclass
class Tally:
    """Rows of a prediction that deserve a note.

    :param rows: Rows so far.
    :param read: Rows that some task could read.
    :param refused: Rows that some task could not read.
    :param first: The error of the first such row.
    :param cut: By view, rows that are longer than the encoder reads, and all rows.
    """

    rows: int = 0
    read: int = 0
    refused: int = 0
    first: str = ""
    cut: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add(self, window: Sequence[PreparedRows]) -> None:
        """Count the rows of a window."""
        rows = len(window[0].part.rows)
        refused = {row: error for one in reversed(window) for row, error in one.refused.items()}
        unread = set(refused).intersection(*(one.refused for one in window))
        if refused and not self.first:
            self.first = refused[min(refused)]
        self.rows += rows
        self.read += rows - len(unread)
        self.refused += len(refused)
        for one in window:
            cut, before = self.cut.get(one.part.view.name, (0, 0))
            self.cut[one.part.view.name] = cut + one.pool.cut, before + len(one.pool)

    def notes(self) -> Iterator[str]:
        """Yield sentences on rows that are cut or could not be read."""
        for name, (cut, rows) in self.cut.items():
            if cut:
                yield (
                    f"{name}: {cut} of {rows} rows are longer than the encoder reads; what is "
                    "predicted of the rest does not depend on its text."
                )
        if self.refused:
            yield (
                f"{self.refused} of {self.rows} rows could not be read and have no label. "
                f"The first: {self.first}"
            )

    def require_rows(self, file: str) -> None:
        """Refuse a file without a row that some task can read.

        :raises DataError: If there is none.
        """
        if not self.read:
            found = f"none of {self.rows} rows can be read, the first: {self.first}"
            raise DataError(f"{file}: {found if self.rows else 'holds no rows.'}")


def check_overrides(overrides: Collection[str]) -> None:
    """Refuse changes to a run other than how new files are read.

    :raises RecipeError: With every such change.
    """
    other = [one for one in overrides if not one.startswith("data.")]
    mistakes = [f"--set {one}: the run is trained; {_CHANGES}" for one in other]
    for one in overrides:
        keys = one.partition("=")[0].split(".")
        if keys[0] == "data" and keys[2:3] and keys[2] in (*ROW_OPTIONS, "split"):
            mistakes.append(f"--set {one}: all rows of a new file are predicted; {_CHANGES}")
    if mistakes:
        raise RecipeError(mistakes)
