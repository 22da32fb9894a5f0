"""A few held-out rows that are stored with a run, and its answers to them: whoever loads it can check it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from polytask.assembly.run.loaded_run import LoadedRun
from polytask.assembly.run.prediction import Record
from polytask.core.columns import is_file
from polytask.core.errors import DataError
from polytask.core.files import read_json, sha256, write_json
from polytask.core.run_folder import RunFolder
from polytask.data.rows import each_row
from polytask.data.tables import Table

NAME = "examples.json"
_ROWS = 4
"""Rows of each source."""
_LONGEST = 2_000
"""Characters of an example: longer rows are left out, and so are rows with images or sounds."""


class Examples(NamedTuple):
    """Rows of one source.

    :param rows: The input columns of each row.
    :param records: The answers of the run.
    """

    rows: list[dict[str, Any]]
    records: list[Record]


def write_examples(run: LoadedRun, tables: Iterable[Table]) -> None:
    """Store rows of each table and the answers to them in a run, unless they are stored already."""
    path, parameters = run.folder.model / NAME, sha256(run.folder.parameters)
    if path.exists() and read_json(path)["parameters"] == parameters:
        return
    found = []
    for table in tables:
        columns = [name for name in run.types if table.path_to(name) is not None]
        rows = [*islice(_small_rows(table, columns), _ROWS)]
        try:
            found.append(Examples(rows, [*run.predict(rows)] if rows else []))
        except DataError:  # no task reads rows of this source
            continue
    sources = [one._asdict() for one in found if one.rows]
    write_json(path, {"parameters": parameters, "sources": sources})


def read_examples(folder: RunFolder) -> list[Examples]:
    """Return the rows and answers that are stored in a run, by source.

    Answers of other parameters are not returned: the run was trained further since.
    """
    path = folder.model / NAME
    if not path.exists():
        return []
    stored = read_json(path)
    current = stored["parameters"] == sha256(folder.parameters)
    return [Examples(**one) for one in stored["sources"]] if current else []


def _small_rows(table: Table, columns: Iterable[str]) -> Iterator[dict[str, Any]]:
    for row in each_row(table):
        found = {name: row[name] for name in columns}
        if not any(map(is_file, found.values())) and len(str(found)) <= _LONGEST:
            yield found
