"""The labels that a recipe's tasks learn from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np

from polytask.assembly.data.views import View
from polytask.core.accounting import BEYOND_LIMIT, NO_COLUMN, NO_LABEL, NO_WEIGHT, LeftOut
from polytask.core.batch import Fields, Row
from polytask.core.errors import DataError, RecipeError
from polytask.data.pools import at_row
from polytask.data.rows import each_row
from polytask.data.tables import Table
from polytask.recipe import Recipe
from polytask.recipe.mistakes import hint
from polytask.tasks import Task
from polytask.tasks.numbers import number_of


@dataclass(frozen=True)
class Labels:
    """The labels that a task may learn from.

    :param task: The task.
    :param allowed: For each source, the positions of its training rows that may be used; None for
        all of them.
    :param weight: Column of the weights of rows; empty if all count once.
    """

    task: Task
    allowed: Mapping[str, frozenset[int]] | None = None
    weight: str = ""

    def training_label(self, source: str, index: int, row: Row) -> Any | LeftOut:
        """Return what the task learns from a row.

        :return: ``LeftOut`` if the label is missing or beyond the limit of the task, or if the row
            has weight 0.
        :raises DataError: If the label or the weight is not of the right kind.
        """
        if not has_label_column(self.task, row):
            return LeftOut(NO_COLUMN)
        label = self.task.training_label(row)
        if label is None:
            return LeftOut(NO_LABEL)
        if self.allowed is not None and index not in self.allowed[source]:
            return LeftOut(BEYOND_LIMIT)
        return label if self.weight_of(row) else LeftOut(NO_WEIGHT)

    def weight_of(self, row: Row) -> float:
        """Return how many times a row counts.

        :raises DataError: If that is no number of 0 or more.
        """
        if not self.weight:
            return 1.0
        if self.weight not in row:
            columns = [name for name in row if not name.startswith("_")]
            raise DataError(
                f"task {self.task.name}: no column {self.weight!r}, its weight."
                f"{hint(self.weight, columns)} Columns: {', '.join(columns)}."
            )
        found = row[self.weight]
        try:
            weight = number_of(found)
        except DataError:
            weight = None
        if weight is None or weight < 0:
            raise DataError(
                f"task {self.task.name}: column {self.weight!r}: expected a weight, a number of 0 "
                f"or more, found {found!r}. Correct it, or write 0 to leave the row out."
            )
        return weight

    def reference(self, source: str, index: int, row: Row) -> Any | None:
        """Return the same, or None in place of ``LeftOut``."""
        label = self.training_label(source, index, row)
        return None if isinstance(label, LeftOut) else label

    def references(self, tables: Mapping[str, Table]) -> Iterator[Any]:
        """Yield all labels that there are in the training rows.

        :raises DataError: If a label is of the wrong kind; names file and line.
        """
        for source, table in tables.items():
            for index, row in enumerate(each_row(table)):
                with at_row(table, index):
                    reference = self.reference(source, index, row)
                if reference is not None:
                    yield reference


def has_label_column(task: Task, row: Row) -> bool:
    """Return whether a row can hold a label of a task; held-out files may lack the column."""
    return not task.target_column or task.target_column in row


def references_of(task: Task, table: Table) -> Iterator[Any]:
    """Yield the references of the labelled rows of a held-out table.

    :raises DataError: If a label is of the wrong kind; names file and line.
    """
    for index, row in enumerate(each_row(table)):
        with at_row(table, index):
            reference = task.reference(row) if has_label_column(task, row) else None
        if reference is not None:
            yield reference


def limit_rows(
    task: Task, tables: Mapping[str, Table], limit: int | None, weight: str = ""
) -> Labels:
    """Return the labels of a task, or a random ``limit`` of them, the same ones for every seed."""
    everything = Labels(task, weight=weight)
    if limit is None:
        return everything
    labelled = []
    for source, table in tables.items():
        for index, row in enumerate(each_row(table)):
            with at_row(table, index):
                if everything.reference(source, index, row) is not None:
                    labelled.append((source, index))
    chosen = np.random.default_rng(0).permutation(len(labelled))[:limit]
    allowed: dict[str, set[int]] = {source: set() for source in tables}
    for position in chosen.tolist():
        source, index = labelled[position]
        allowed[source].add(index)
    return replace(everything, allowed={name: frozenset(rows) for name, rows in allowed.items()})


@dataclass
class TrainingFields:
    """The input fields of all training rows, for encoders that learn a vocabulary.

    Can be walked any number of times; rows are read as they are walked.
    """

    views: Sequence[View]
    tables: Mapping[str, Table]
    labels: Mapping[str, Labels]

    def __post_init__(self) -> None:
        self._last: tuple[Table, Row] | None = None

    def __iter__(self) -> Iterator[Fields]:
        for view in self.views:
            labels = [self.labels[task].allowed for task in view.tasks]
            table = self.tables[view.source]
            for index, row in enumerate(each_row(table)):
                if any(allowed is None or index in allowed[view.source] for allowed in labels):
                    self._last = table, row
                    yield from view.texts(row, training=True)
        self._last = None

    @contextlib.contextmanager
    def at_last(self) -> Iterator[None]:
        """Put the place of the row that was read last before the message of a ``DataError``."""
        try:
            yield
        except DataError as error:
            if self._last is None:
                raise
            table, row = self._last
            raise DataError(f"{table.place_of(row)}: {error}") from error


def labels_of(
    recipe: Recipe, tasks: Mapping[str, Task], tables: Mapping[str, Table]
) -> dict[str, Labels]:
    """Return the training labels of each task.

    :param tables: Training rows by source.
    :raises DataError: If a source has no training rows, or a label is of the wrong kind.
    """
    found = {}
    for name, task in tasks.items():
        section = recipe.tasks[name]
        for source in section.sources:
            if source not in tables:
                raise DataError(f"data.{source}: has no training rows. Give it train or path.")
        if section.weight is not None and task.couples_rows:
            text = "its loss compares the rows of a batch, so that no row has a loss to weigh"
            raise RecipeError([f"tasks.{name}.weight: {text}. Remove it, or choose another loss."])
        own = {source: tables[source] for source in section.sources}
        for table in own.values():
            require_label_column(task, table)
        found[name] = limit_rows(task, own, section.limit, section.weight or "")
    return found


def require_label_column(task: Task, table: Table) -> None:
    """Refuse training rows that lack the target column of a task.

    :raises DataError: Names the column, and the nearest one there is.
    """
    if len(table):
        with at_row(table, 0):
            task.training_label(next(iter(each_row(table))))


def fit_tasks(
    recipe: Recipe, tasks: Mapping[str, Task], tables: Mapping[str, Table]
) -> dict[str, Labels]:
    """Let every task learn its label set and such; return what it may learn from."""
    labels = labels_of(recipe, tasks, tables)

    def references(name: str) -> Iterator[Any]:
        own = {source: tables[source] for source in recipe.tasks[name].sources}
        return labels[name].references(own)

    for group in _fit_together(tasks):
        first = tasks[group[0]]
        first.set_group(group)
        first.fit(chain.from_iterable(map(references, group)))
        for name in group[1:]:
            tasks[name].restore(first.state())
    return labels


def _fit_together(tasks: Mapping[str, Task]) -> list[list[str]]:
    """Return the names of the tasks, those together that share a head and learn one state for it."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, task in tasks.items():
        key = ("head", task.head_key) if task.joint_fit else ("task", name)
        groups.setdefault(key, []).append(name)
    return list(groups.values())
