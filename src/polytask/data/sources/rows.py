"""A source of rows that are in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from typing_extensions import override

from polytask.core.errors import DataError
from polytask.data.column_values import Types
from polytask.data.sources.base import ALL, TEST, TRAIN, VALIDATION, Source, sources
from polytask.data.sources.files import check_splits
from polytask.data.stored_tables import spool_table
from polytask.data.tables import Origin, Table, add_location

Rows = list[dict[str, Any]] | None


@sources.register("rows")
class InMemory(Source):
    """Rows given in Python, each a mapping of columns.

    :param train: Training rows.
    :param validation: Validation rows.
    :param test: Test rows.
    :param rows: Rows that have not been split.
    """

    def __init__(
        self,
        search: tuple[Path, ...],
        /,
        *,
        train: Rows = None,
        validation: Rows = None,
        test: Rows = None,
        rows: Rows = None,
        **options: Any,
    ) -> None:
        super().__init__(search, **options)
        given = {TRAIN: train, VALIDATION: validation, TEST: test, ALL: rows}
        self.rows = {split: rows for split, rows in given.items() if rows is not None}
        check_splits(self.rows)

    @override
    def load(self) -> dict[str, Table]:
        return {split: _table(split, rows, self.types) for split, rows in self.rows.items()}


def _table(split: str, rows: list[dict[str, Any]], types: Types) -> Table:
    name = "rows" if split == ALL else f"{split} rows"
    if not rows:
        raise DataError(f"{name}: no rows; expected at least one.")
    numbered = (add_location(row, 0, number) for number, row in enumerate(rows))
    return spool_table(numbered, Origin((name,), "{file}[{line}]", types=types))
