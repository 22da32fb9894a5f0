"""The rows that are stored in a run, prepared for its model: every export is compared on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from polytask.assembly.run.examples import read_examples
from polytask.assembly.run.loaded_run import LoadedRun
from polytask.assembly.run.prediction import windows_of_rows
from polytask.core.batch import Fields
from polytask.core.errors import RunError
from polytask.data.pools import Ints
from polytask.data.prepared_rows import PreparedRow

TOLERANCE = 1e-4
"""Largest difference between a number of the export and the number of the run."""


@dataclass(frozen=True)
class StoredRows:
    """Rows that some tasks read in the same way.

    :param tasks: Names of the tasks.
    :param rows: The prepared rows.
    :param fields: The input fields of each row.
    """

    tasks: Sequence[str]
    rows: Sequence[PreparedRow]
    fields: Sequence[Fields]


def stored_rows(run: LoadedRun, tasks: Sequence[str]) -> list[StoredRows]:
    """Return the stored rows of some tasks.

    :raises RunError: If none are stored for one of them.
    """
    found: list[StoredRows] = []
    for example in read_examples(run.folder):
        for window in windows_of_rows(example.rows, run.views_for(None), lambda _: None):
            for prepared in run.prepare(window):
                own = [task for task in prepared.part.view.tasks if task in tasks]
                pool = prepared.pool
                every: Ints = pool.lengths_N.argsort()
                if own and len(pool):
                    found.append(StoredRows(own, pool.fetch(every), pool.fields(every)))
    covered = {task for one in found for task in one.tasks}
    for task in tasks:
        if task not in covered:
            raise RunError(
                f"{run.folder.path}: holds no stored rows of task {task!r} to compare the export "
                f"with. Score the run first: polytask evaluate {run.folder.path}"
            )
    return found
