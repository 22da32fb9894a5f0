"""How a recipe's tasks read its sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from polytask.core.batch import Fields, Row
from polytask.core.errors import DataError
from polytask.data.pools import at_row, each_row
from polytask.data.tables import Table
from polytask.data.text import TextStep, text_steps
from polytask.recipe import Recipe
from polytask.recipe.mistakes import hint
from polytask.tasks import Task


@dataclass(frozen=True)
class View:
    """One way of reading a source: its input columns, and the tasks that label what is read.

    :param source: Name of the source.
    :param columns: Input columns, in the order the encoder gets them.
    :param tasks: Names of the tasks.
    """

    source: str
    columns: tuple[str, ...]
    tasks: tuple[str, ...]
    steps: tuple[TextStep, ...] = field(repr=False)

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.source}[{', '.join(self.columns)}]"

    def fields(self, row: Row) -> Fields:
        """The input columns of a row, text steps applied."""
        return tuple(self._stepped(row[column]) for column in self.columns)

    def require_columns(self, table: Table) -> None:
        """Refuse a table that lacks an input column.

        :raises DataError: Names the column, and the nearest one there is.
        """
        for column in self.columns:
            if column not in table.columns:
                raise DataError(
                    f"{table.files[0]}: no column {column!r}, the input of {', '.join(self.tasks)}."
                    f"{hint(column, table.columns)} Columns: {', '.join(table.columns)}."
                )

    def _stepped(self, value: Any) -> Any:
        if isinstance(value, str) or (
            isinstance(value, list) and all(isinstance(word, str) for word in value)
        ):
            for step in self.steps:
                value = step(value)
        return value


def views_of(recipe: Recipe) -> list[View]:
    """The views of a recipe; tasks that read the same columns of a source share one."""
    readers: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for name, task in recipe.tasks.items():
        for source in task.sources:
            readers.setdefault((source, task.columns), []).append(name)
    steps = tuple(text_steps.build(options) for options in recipe.text)
    return [
        View(source, columns, tuple(names), steps) for (source, columns), names in readers.items()
    ]


@dataclass(frozen=True)
class Labels:
    """The labels that a task may learn from.

    :param task: The task.
    :param allowed: For each source, the positions of its training rows that may be used; None for
        all of them.
    """

    task: Task
    allowed: Mapping[str, frozenset[int]] | None = None

    def reference(self, source: str, index: int, row: Row) -> Any | None:
        """The label of a training row, or None if it is missing or beyond the task's limit."""
        if self.allowed is not None and index not in self.allowed[source]:
            return None
        return self.task.reference(row)

    def references(self, tables: Mapping[str, Table]) -> Iterator[Any]:
        """All labels that there are in the training rows.

        :raises DataError: If a label is of the wrong kind; names file and line.
        """
        for source, table in tables.items():
            for index, row in enumerate(each_row(table)):
                with at_row(table, index):
                    reference = self.reference(source, index, row)
                if reference is not None:
                    yield reference


def limited(task: Task, tables: Mapping[str, Table], limit: int | None) -> Labels:
    """The labels of a task, or a random ``limit`` of them, the same ones for every seed."""
    if limit is None:
        return Labels(task)
    everything = Labels(task)
    labelled = [
        (source, index)
        for source, table in tables.items()
        for index, row in enumerate(each_row(table))
        if everything.reference(source, index, row) is not None
    ]
    chosen = np.random.default_rng(0).permutation(len(labelled))[:limit]
    allowed: dict[str, set[int]] = {source: set() for source in tables}
    for position in chosen.tolist():
        source, index = labelled[position]
        allowed[source].add(index)
    return Labels(task, {source: frozenset(rows) for source, rows in allowed.items()})


@dataclass(frozen=True)
class TrainingFields:
    """The input fields of all training rows, for encoders that learn a vocabulary.

    Can be walked any number of times; rows are read as they are walked.
    """

    views: Sequence[View]
    tables: Mapping[str, Table]
    labels: Mapping[str, Labels]

    def __iter__(self) -> Iterator[Fields]:
        for view in self.views:
            labels = [self.labels[task].allowed for task in view.tasks]
            for index, row in enumerate(each_row(self.tables[view.source])):
                if any(allowed is None or index in allowed[view.source] for allowed in labels):
                    yield view.fields(row)
