"""Tables: the rows of a split, memory-mapped, each with the file and line it came from."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from polytask.core.batch import Row
from polytask.core.columns import ColumnType, column_type
from polytask.core.errors import DataError
from polytask.data.arrow import FILE, LINE
from polytask.data.arrow_types import CellError
from polytask.data.nested_columns import list_nested_names, path_of, values_at

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import numpy.typing as npt

_BATCH = 10_000


class ConflictError(DataError):
    """A column whose values have no common type; the message names the first conflict."""


@dataclass(frozen=True)
class Origin:
    """The files that the rows of a table come from.

    :param files: The files that the rows came from, as found.
    :param place: Format of a place, with ``{file}`` and ``{line}``.
    :param sha256: SHA-256 of the file; for several files, SHA-256 of their joined hashes. A
        selection keeps the hash of the whole table.
    :param notes: Remarks for the user on how the files were read.
    :param types: Types that were given for columns; ``Table.type_of`` finds the other types.
    """

    files: tuple[str, ...]
    place: str
    sha256: str = ""
    notes: tuple[str, ...] = ()
    types: Mapping[str, ColumnType] = field(default_factory=dict)

    def place_at(self, file: int, line: int) -> str:
        """Return the place of a row, for messages."""
        return self.place.format(file=self.files[file], line=line)


@dataclass(frozen=True, kw_only=True)
class Table(Origin):
    """The rows of one split of one source, with their origin.

    :param rows: The rows, on disk; ``rows[i]`` and ``rows[[i, j]]`` are fast.
    :param conflicts: Error message of each column whose values have no common type.
    """

    rows: datasets.Dataset
    conflicts: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def columns(self) -> list[str]:
        """The names of the columns, without hidden columns.

        Values inside a mapping follow, with a dot: ``translation.en``.
        """
        shown = [name for name in self.rows.column_names if name not in (FILE, LINE)]
        inner = [name for name in list_nested_names(self.rows.features) if name not in shown]
        return [*shown, *inner, *self.conflicts]

    def path_to(self, name: str) -> tuple[str, ...] | None:
        """Return the names that lead to a column; None if there is no such column.

        :raises ConflictError: If the values of the column have no common type.
        """
        found = path_of(self.rows.features, name)
        top = name if name in self.conflicts else name.partition(".")[0]
        if found is None and top in self.conflicts:
            raise ConflictError(self.conflicts[top])
        return found

    def type_of(self, name: str) -> ColumnType:
        """Return the type of a column.

        :raises DataError: If there is no such column, or it cannot be read.
        """
        self.require(name)
        feature = self.rows.features
        for part in self.path_to(name) or ():
            feature = feature[part]
        return self.types.get(name) or column_type(feature)

    def require(self, name: str) -> None:
        """Check that the table has a column and that it can be read.

        :raises DataError: If not; names the nearest column, or the place of the conflict.
        """
        if self.path_to(name) is None:
            close = difflib.get_close_matches(name, self.columns, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            known = ", ".join(self.columns)
            raise DataError(f"{self.files[0]}: no column {name!r}.{hint} Columns: {known}.")

    def where(self, index: int) -> str:
        """Return the place of a row for messages: ``path:line``, or ``rows[3]`` without a file."""
        return self.place_of(self.rows[int(index)])

    def place_of(self, row: Mapping[str, Any]) -> str:
        """Return the place of a row that was read with its hidden columns."""
        return self.place_at(row[FILE], row[LINE])

    def select(self, indices: Sequence[int] | npt.NDArray[np.integer]) -> Table:
        """Return a table of the rows at these indices, in this order."""
        return replace(self, rows=self.rows.select(indices))

    def column(self, name: str) -> Iterator[Any]:
        """Yield the values of one column, without reading the other columns.

        :raises DataError: If there is no such column, or it cannot be read.
        """
        self.require(name)
        top, *inner = self.path_to(name) or (name,)
        batches = self.rows.select_columns([top]).with_format("arrow").iter(_BATCH)
        for batch in batches:
            yield from values_at(batch[top], inner)


def add_location(row: Row, file: int, line: int) -> dict[str, Any]:
    """Return a row with hidden columns for the number of its file and its line.

    :raises CellError: If the row has columns of these names.
    """
    marked = {**row, FILE: file, LINE: line}
    if len(marked) < len(row) + 2:
        raise CellError(marked, f"{FILE} or {LINE}", "the name is reserved; expected another one")
    return marked
