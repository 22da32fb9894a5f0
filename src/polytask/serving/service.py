"""A loaded run behind a queue: rows of several requests are encoded together, each distinct one once."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from polytask.assembly.data.new_rows import readable_views
from polytask.assembly.data.views import View
from polytask.assembly.run.loaded_run import LoadedRun
from polytask.assembly.run.prediction import RecordOptions, WindowRows
from polytask.core.batch import Fields, Row
from polytask.core.errors import DataError
from polytask.core.memory import Trimmer
from polytask.data.pools import read_error
from polytask.data.prepared_rows import LENGTH, PreparedRow
from polytask.data.rows import RowInMemory
from polytask.evaluation.predict import Predictor
from polytask.serving.batching import Batcher, Job, Limits
from polytask.serving.metrics import Metrics
from polytask.tasks import Predictions

Answered: TypeAlias = tuple[Predictions, int] | str
"""Predictions with the position of the row among them; or the error of a row that cannot be read."""

Answer: TypeAlias = Mapping[str, Answered]
"""The answers to a row by task."""


@dataclass(frozen=True)
class Item:
    """One row as one view reads it, ready for the model.

    :param view: Name of the view.
    :param key: Equal for rows of a view that the model reads alike.
    :param tasks: The tasks asked for.
    :param vectors: Whether the features of the row are asked for in place of labels.
    """

    view: str
    key: Hashable
    row: PreparedRow
    fields: Fields
    tasks: tuple[str, ...]
    vectors: bool = False


@dataclass(frozen=True)
class Request:
    """The prepared rows of one request.

    :param rows: The number of rows.
    :param job: What is queued: an item for each row and view that can be read.
    :param places: For each item the position of its row.
    :param errors: By task, the error of each row that it cannot read.
    :param seconds: Seconds that preparing took.
    """

    rows: int
    tasks: tuple[str, ...]
    job: Job[Item, Answer]
    places: Sequence[int]
    errors: Mapping[str, Mapping[int, str]]
    seconds: float

    def records(
        self, answers: Sequence[Answer], run: LoadedRun, options: Mapping[str, RecordOptions]
    ) -> list[dict[str, dict[str, Any]]]:
        """Return a record for each row: by task ``label`` and the like, or ``error``."""
        found: list[dict[str, dict[str, Any]]] = [{} for _ in range(self.rows)]
        for place, answer in zip(self.places, answers, strict=True):
            for task, answered in answer.items():
                found[place][task] = _record(run, task, answered, options.get(task, _PLAIN))
        for task, errors in self.errors.items():
            for place, error in errors.items():
                found[place][task] = options.get(task, _PLAIN).refused_record(error)
        order = [task for task in run.tasks if task in self.tasks]
        return [{task: record[task] for task in order} for record in found]


_PLAIN = RecordOptions()


def _record(run: LoadedRun, task: str, answered: Answered, wanted: RecordOptions) -> dict[str, Any]:
    if isinstance(answered, str):
        return wanted.refused_record(answered)
    record = wanted.record(*answered, run.tasks[task].labels)
    try:
        json.dumps(record, allow_nan=False)
    except ValueError:
        return wanted.refused_record("The model gives numbers that are not finite. Train it again.")
    return record


@dataclass
class Service:
    """A run that answers requests.

    :param name: What clients call it.
    :param metrics: Counts what happens.
    """

    name: str
    run: LoadedRun
    metrics: Metrics
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        self.batcher: Batcher[Item, Answer] = Batcher(self._compute, self.limits)
        self._trim_memory = Trimmer()

    def prepare(
        self,
        rows: Sequence[Row],
        tasks: Collection[str] | None,
        deadline: float = math.inf,
        *,
        vectors: bool = False,
    ) -> Request:
        """Return the rows of a request ready for the queue.

        :param tasks: Names of tasks; None for all whose columns the rows have.
        :param vectors: Ask for the features of rows in place of labels.
        :raises RecipeError: If there is no such task.
        :raises DataError: If rows lack columns that a named task reads, or no task can read them.
        """
        started = time.monotonic()
        views, notes = readable_views(self.run.views_for(tasks), rows)
        if tasks is not None and notes:
            raise DataError(" ".join(notes))
        items: list[Item] = []
        places: list[int] = []
        errors: dict[str, dict[int, str]] = {}
        for prepared in self.run.prepare([_window(view, rows) for view in views]):
            view, pool = prepared.part.view, prepared.pool
            for task in view.tasks:
                errors[task] = dict(prepared.refused)
            readable = [row for row in range(len(rows)) if row not in prepared.refused]
            fields = pool.fields(np.arange(len(pool)))
            for place, row, own in zip(readable, pool.rows, fields, strict=True):
                items.append(Item(view.name, _key(view, row, own), row, own, view.tasks, vectors))
                places.append(place)
        lengths = [int(item.row[LENGTH]) for item in items]
        job: Job[Item, Answer] = Job(items, [max(1, length) for length in lengths], deadline)
        answered = tuple(task for view in views for task in view.tasks)
        return Request(len(rows), answered, job, places, errors, time.monotonic() - started)

    def predict(self, rows: Sequence[Row], tasks: Collection[str] | None = None) -> list[Any]:
        """Predict rows through the queue, and wait: for checks, without a client."""
        request = self.prepare(rows, tasks)
        return request.records(self.batcher.submit(request.job).result(), self.run, {})

    def _compute(self, items: Sequence[Item]) -> list[Answer]:
        """Answer the items of a group: encode each distinct row once."""
        answers: list[dict[str, Answered]] = [{} for _ in items]
        for predictor, tasks in _by_model(self.run):
            # Rows of two views have different inputs, such as words or none: a batch is of one view.
            kinds: dict[tuple[str, bool], dict[Hashable, list[int]]] = {}
            for place, item in enumerate(items):
                if tasks.intersection(item.tasks):
                    alike = kinds.setdefault((item.view, item.vectors), {})
                    alike.setdefault(item.key, []).append(place)
            for distinct in kinds.values():
                groups = [*distinct.values()]
                lengths = [items[own[0]].row[LENGTH] for own in groups]
                for rows_b in predictor.split(np.array(lengths, dtype=np.int64)):
                    chosen = [groups[row] for row in rows_b.tolist()]
                    self._compute_readable(predictor, tasks, items, chosen, answers)
        self._trim_memory()
        return [*answers]

    def _compute_readable(
        self,
        predictor: Predictor,
        tasks: set[str],
        items: Sequence[Item],
        groups: Sequence[Sequence[int]],
        answers: Sequence[dict[str, Answered]],
    ) -> None:
        """Answer a batch; an image or a sound may turn out to be broken when it is decoded."""
        try:
            self._compute_batch(predictor, tasks, items, groups, answers)
        except DataError:
            readable = []
            for own in groups:
                error = read_error(items[own[0]].row, predictor.collation)
                if error is None:
                    readable.append(own)
                    continue
                for at in own:
                    answers[at].update(dict.fromkeys(items[at].tasks, error))
            if readable:
                self._compute_batch(predictor, tasks, items, readable, answers)

    def _compute_batch(
        self,
        predictor: Predictor,
        tasks: set[str],
        items: Sequence[Item],
        groups: Sequence[Sequence[int]],
        answers: Sequence[dict[str, Answered]],
    ) -> None:
        """Answer the items of each group of equal ones, in one batch.

        :param groups: For each row of the batch the positions of its items.
        """
        wanted = [{task for at in own for task in items[at].tasks} & tasks for own in groups]
        names = [task for task in self.run.tasks if any(task in own for own in wanted)]
        asked = {
            task: np.array([row for row, own in enumerate(wanted) if task in own], dtype=np.int64)
            for task in names
        }
        first = [items[own[0]] for own in groups]
        with self.metrics.measure_pass(predictor.model, first):
            found = predictor.answer_rows(
                [one.row for one in first],
                [one.fields for one in first],
                asked,
                vectors=first[0].vectors,
            )
        for task, rows_t in asked.items():
            for position, row in enumerate(rows_t.tolist()):
                for at in groups[row]:
                    if task in items[at].tasks:
                        answers[at][task] = (found[task], position)


def _by_model(run: LoadedRun) -> list[tuple[Predictor, set[str]]]:
    """Return each model with the tasks that it answers."""
    return [
        (predictor, {task for task, own in run.files.items() if own == file})
        for file, predictor in run.predictors.items()
    ]


def _window(view: View, rows: Sequence[Row]) -> WindowRows:
    return WindowRows(
        view, [RowInMemory(row, view.types) for row in rows], lambda at: f"rows[{at}]"
    )


def _key(view: View, row: PreparedRow, fields: Fields) -> Hashable:
    """Return what tells rows of a view apart; a row with a value that has no hash is its own key."""
    try:
        hash(fields)
    except TypeError:
        return id(row)
    return (view.tasks if view.worded else (), fields)
