"""Rows of a table as mappings; a column is read from disk when it is first used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, final, overload

from typing_extensions import override

from polytask.core.batch import Row
from polytask.core.columns import ColumnType
from polytask.core.errors import DataError
from polytask.data.column_values import convert_value
from polytask.data.nested_columns import path_of, value_of, values_at
from polytask.data.tables import Table

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

V = TypeVar("V")
_CHUNK = 1000


def each_row(table: Table) -> Iterator[Row]:
    """Yield the rows of a table, read in chunks."""
    for chunk in table.rows.with_format("arrow").iter(_CHUNK):
        columns = _Columns(table, chunk)
        yield from (_Row(columns, index) for index in range(len(chunk)))


def rows_at(table: Table, rows_b: npt.NDArray[np.integer]) -> list[Row]:
    """Return some rows of a table, in the given order."""
    columns = _Columns(table, table.rows.with_format("arrow")[rows_b])
    return [_Row(columns, index) for index in range(len(rows_b))]


@final
class LateRows(Sequence[V]):
    """Values of b rows that are read when one of them is first used.

    :param rows: The number of rows, b.
    :param read: Returns the values of all b rows.
    """

    def __init__(self, rows: int, read: Callable[[], Sequence[V]]) -> None:
        self._rows, self._read = rows, read

    @cached_property
    def _values(self) -> Sequence[V]:
        return self._read()

    @override
    def __len__(self) -> int:
        return self._rows

    @overload
    def __getitem__(self, index: int) -> V: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[V]: ...

    @override
    def __getitem__(self, index: int | slice) -> V | Sequence[V]:
        return self._values[index]


@final
class RowInMemory(Mapping[str, Any]):
    """A row given in Python; a missing column is None.

    :param row: Values by column.
    :param types: Types of columns; a value is converted when it is read.
    """

    __slots__ = ("_row", "_types")

    def __init__(self, row: Row, types: Mapping[str, ColumnType]) -> None:
        self._row, self._types = row, types

    @override
    def __getitem__(self, name: str) -> Any:
        try:
            return convert_value(value_of(self._row, name), self._types.get(name))
        except DataError as error:
            raise DataError(f"column {name!r}: {error}") from None

    @override
    def __contains__(self, name: object) -> bool:
        return path_of(self._row, str(name)) is not None

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._row)

    @override
    def __len__(self) -> int:
        return len(self._row)


@final
class _Columns:
    """A chunk of rows; converts a column to Python values once, when it is first used."""

    def __init__(self, table: Table, chunk: pa.Table) -> None:
        self.table = table
        self.chunk = chunk
        self._values: dict[str, list[Any]] = {}

    def __getitem__(self, name: str) -> list[Any]:
        values = self._values.get(name)
        if values is None:
            path = self.table.path_to(name)
            if path is None:
                raise KeyError(name)
            top, *inner = path
            values = self._values[name] = values_at(self.chunk[top], inner)
        return values


@final
class _Row(Mapping[str, Any]):
    """A row of a chunk."""

    __slots__ = ("_columns", "_index")

    def __init__(self, columns: _Columns, index: int) -> None:
        self._columns, self._index = columns, index

    @override
    def __getitem__(self, name: str) -> Any:
        return self._columns[name][self._index]

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._columns.chunk.column_names)

    @override
    def __len__(self) -> int:
        return len(self._columns.chunk.column_names)
