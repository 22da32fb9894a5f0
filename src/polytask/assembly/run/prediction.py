"""A run predicts all its tasks for new rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polytask.assembly.data.new_rows import ROW_OPTIONS, read_new_rows
from polytask.assembly.data.pools import new_pool
from polytask.assembly.data.readings import readings
from polytask.assembly.data.views import View
from polytask.assembly.run.loaded_run import TrainedModel
from polytask.core.batch import Row
from polytask.core.errors import DataError, RecipeError
from polytask.core.run_folder import RunFolder
from polytask.core.scratch import scratch_folder
from polytask.data.pools import Pool
from polytask.data.tables import Table
from polytask.recipe import load
from polytask.tasks import Predictions

Record = dict[str, Any]
_CHANGES = "only how new files are read can be changed, as in --set data.NAME.delimiter=';'."


@dataclass(frozen=True)
class Wanted:
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

    def record(self, found: Predictions, row: int, labels: Sequence[str]) -> Record:
        """Return what was predicted for a row."""
        if self.vectors:
            return {"vector": found.labels[row]}
        certainty = found.certainty(row, labels, self.top_k if self.probabilities else 0)
        return {"label": found.labels[row], **certainty}

    @property
    def refused(self) -> Record:
        """The record of a row that cannot be read, without the reason."""
        return {"vector" if self.vectors else "label": None}


@dataclass(frozen=True)
class _Prepared:
    """A table as some tasks read it.

    :param refused: The error of every row that cannot be read.
    """

    view: View
    table: Table
    pool: Pool
    refused: Mapping[int, str]

    def records(
        self, found: Predictions, wanted: Wanted, labels: Sequence[str]
    ) -> Iterator[Record]:
        """Yield the record of every row, in order."""
        numbers = iter(range(len(found.labels)))
        for row in range(len(self.table)):
            if row in self.refused:
                yield {**wanted.refused, "error": self.refused[row]}
            else:
                yield wanted.record(found, next(numbers), labels)


def predict(
    run: RunFolder,
    rows: Path | Sequence[Row],
    wanted: Wanted,
    *,
    task_best: bool = False,
    overrides: Sequence[str] = (),
    left_out: Callable[[str], object] = lambda _: None,
) -> Iterator[Record]:
    """Predict every task whose input columns the rows have.

    :param rows: A file, read as the files that the task was trained on, or rows.
    :param wanted: The content of records.
    :param task_best: Let each task answer with the model of its own best validation.
    :param overrides: Changes to how files are read, ``data.NAME.OPTION=VALUE``.
    :param left_out: Called with sentences on tasks that lack columns, and on rows that are cut or
        cannot be read.
    :return: One record per row, in order: task to ``label`` and, where the task has them,
        ``confidence`` and ``probabilities`` by label. A row that cannot be read has ``label`` None
        and an ``error``.
    :raises DataError: If no task can read the rows, or no row can be read.
    :raises RecipeError: If an override changes something else.
    :raises RunError: If the run does not hold the models that are asked for.
    """
    _check(overrides)
    recipe = load(run.recipe, overrides)
    found = read_new_rows(recipe, rows, readings(recipe, run))
    for own in found:
        for text in own.notes:
            left_out(text)
    model = TrainedModel.load(recipe, run, task_best=task_best)
    with scratch_folder() as scratch:
        views = [(view, own.table) for own in found for view in own.views]
        prepared = [_Prepared(*one, *new_pool(*one, model.encoder, scratch)) for one in views]
        notes = [*_cut(prepared), *_unreadable(prepared)]
        predicted = model.predict([one.pool for one in prepared], "new", vectors=wanted.vectors)
    columns = {
        task: one.records(predicted[task], wanted, model.tasks[task].labels)
        for one in prepared
        for task in one.view.tasks
    }
    ordered = {task: columns[task] for task in model.tasks if task in columns}
    for records in zip(*ordered.values(), strict=True):
        yield dict(zip(ordered, records, strict=True))
    for text in notes:
        left_out(text)


def _check(overrides: Sequence[str]) -> None:
    other = [one for one in overrides if not one.startswith("data.")]
    mistakes = [f"--set {one}: the run is trained; {_CHANGES}" for one in other]
    for one in overrides:
        keys = one.partition("=")[0].split(".")
        if keys[0] == "data" and keys[2:3] and keys[2] in (*ROW_OPTIONS, "split"):
            mistakes.append(f"--set {one}: all rows of a new file are predicted; {_CHANGES}")
    if mistakes:
        raise RecipeError(mistakes)


def _cut(prepared: Sequence[_Prepared]) -> Iterator[str]:
    for pool in (one.pool for one in prepared):
        if pool.cut:
            yield (
                f"{pool.name}: {pool.cut} of {len(pool)} rows are longer than the encoder "
                "reads; what is predicted of the rest does not depend on its text."
            )


def _unreadable(prepared: Sequence[_Prepared]) -> Iterator[str]:
    """Yield how many rows some task cannot read.

    :raises DataError: If there are no rows, or none can be read.
    """
    rows = max(len(one.table) for one in prepared)
    refused: dict[int, str] = {}
    for one in prepared:
        refused = {**one.refused, **refused}
    first = refused[min(refused)] if refused else ""
    if not any(len(one.pool) for one in prepared):
        file = prepared[0].table.files[0]
        text = f"none of {rows} rows can be read, the first: {first}" if rows else "holds no rows."
        raise DataError(f"{file}: {text}")
    if refused:
        yield f"{len(refused)} of {rows} rows could not be read and have no label. The first: {first}"
