"""A few rows that are stored with a run, and the answers to them: whoever loads the run can check it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from polytask.assembly.run.loaded_run import LoadedRun
from polytask.assembly.run.prediction import Record
from polytask.core.batch import Row
from polytask.core.columns import is_file
from polytask.core.files import read_json, write_json
from polytask.core.run_folder import RunFolder

NAME = "examples.json"
_ROWS = 8
_LONGEST = 2_000
"""Characters of an example as JSON: longer rows are left out, and so are rows with images or sounds."""


def write_examples(run: LoadedRun, rows: Sequence[Row]) -> None:
    """Store a few rows and their answers in a run.

    :param rows: Rows that all tasks of a view can read.
    """
    columns = [*run.types]
    found = [{name: row[name] for name in columns if name in row} for row in rows]
    chosen = [*islice((row for row in found if _is_small(row)), _ROWS)]
    if chosen:
        records = [*run.predict(chosen)]
        write_json(run.folder.model / NAME, {"rows": chosen, "records": records})


def read_examples(folder: RunFolder) -> tuple[list[dict[str, Any]], list[Record]]:
    """Return the rows and answers that are stored in a run; empty if there are none."""
    path = folder.model / NAME
    if not path.exists():
        return [], []
    found = read_json(path)
    return found["rows"], found["records"]


def _is_small(row: Row) -> bool:
    return not any(is_file(value) for value in row.values()) and len(str(row)) <= _LONGEST
