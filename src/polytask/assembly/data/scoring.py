"""Predictions of a model over a split, compared with the labels of its tasks."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from polytask.assembly.data.groups import groups_of
from polytask.assembly.data.pools import scored_pool
from polytask.assembly.data.views import View
from polytask.core.batch import Fields, Row
from polytask.core.encoder import Encoder
from polytask.core.errors import RecipeError
from polytask.data.pools import Pool
from polytask.data.rows import each_row
from polytask.data.tables import Table
from polytask.evaluation.score import Outcome, Pooling
from polytask.recipe import Recipe
from polytask.tasks import Metric, Predictions, Task, metrics
from polytask.tasks.metrics.agreement import ExactMatch


@dataclass(frozen=True)
class ScoredRows:
    """The rows that one task is scored on, view by view.

    :param parts: Views and their rows.
    :param references: The label of every row; None where it is missing.
    """

    parts: list[tuple[View, Table]]
    references: list[Any | None]

    def fields(self) -> Iterator[Fields]:
        """Yield the input fields of every row."""
        for view, table in self.parts:
            yield from (view.fields(row) for row in each_row(table))

    def rows(self) -> Iterator[tuple[Table, Row]]:
        """Yield every row, and the table it is from."""
        for _, table in self.parts:
            yield from ((table, row) for row in each_row(table))

    def outcome(self, found: Predictions) -> Outcome:
        """Labels and predictions of the rows that have a label."""
        kept = self._kept
        return Outcome(
            [self.references[index] for index in kept],
            [found.labels[index] for index in kept],
            [found.probabilities[index] for index in kept] if found.probabilities else (),
            [self.places[index] for index in kept],
            self._groups,
        )

    @cached_property
    def _kept(self) -> list[int]:
        """The positions of the rows that have a label."""
        return [index for index, label in enumerate(self.references) if label is not None]

    @cached_property
    def _groups(self) -> dict[str, list[int]]:
        return groups_of(self.parts, [self.places[index] for index in self._kept])

    @cached_property
    def places(self) -> list[Hashable]:
        """A unique key of every row, equal for all tasks: its source and position."""
        return [(view.source, at) for view, table in self.parts for at in range(len(table))]


@dataclass(frozen=True)
class EvaluationRows:
    """The rows of one split that a model is scored on.

    :param pools: Prepared rows, one pool per view.
    :param tasks: The same rows task by task, in the order of the pools.
    """

    pools: list[Pool]
    tasks: dict[str, ScoredRows]

    def outcomes(self, found: Mapping[str, Predictions]) -> dict[str, Outcome]:
        """Labels and predictions of the labelled rows of every task."""
        return {name: rows.outcome(found[name]) for name, rows in self.tasks.items()}


def evaluation_rows(
    views: Sequence[View],
    tables: Mapping[str, Table],
    encoder: Encoder,
    tasks: Mapping[str, Task],
    folder: Path,
) -> EvaluationRows:
    """Prepare the rows of one split; views whose source lacks it are left out.

    :raises DataError: If a row or label does not fit; names file and line.
    """
    found: dict[str, ScoredRows] = {}
    pools = []
    for view in views:
        if view.source in tables:
            table = tables[view.source]
            pool, references = scored_pool(view, table, encoder, tasks, folder)
            pools.append(pool)
            for task, own in references.items():
                rows = found.setdefault(task, ScoredRows([], []))
                rows.parts.append((view, table))
                rows.references.extend(own)
    return EvaluationRows(pools, found)


def metrics_of(recipe: Recipe, tasks: Mapping[str, Task]) -> dict[str, list[Metric]]:
    """Return the metrics of every task; the first one stands for it."""
    return {
        name: task.build_metrics(recipe.tasks[name].metrics or ()) for name, task in tasks.items()
    }


def poolings_of(recipe: Recipe, tasks: Mapping[str, Task]) -> dict[str, Pooling]:
    """Return the metrics over several tasks' predictions.

    :raises RecipeError: If a metric does not measure what the tasks predict.
    """
    found = {
        name: Pooling(
            section.tasks,
            metrics.build(section.metric, _labels_of(section.tasks, tasks)),
            section.by_row,
        )
        for name, section in recipe.pooled.items()
        if all(task in tasks for task in section.tasks)
    }
    reasons = {name: _why_not_pooled(pooling, tasks) for name, pooling in found.items()}
    mistakes = [f"pooled.{name}.metric: {why}" for name, why in reasons.items() if why]
    if mistakes:
        raise RecipeError(mistakes)
    return found


def _why_not_pooled(pooling: Pooling, tasks: Mapping[str, Task]) -> str | None:
    """Return why a metric does not measure what several tasks predict, or None."""
    metric, own = pooling.metric, {name: tasks[name] for name in pooling.tasks}
    for name, task in own.items():
        if not metric.measures(task.label_type):
            forms = " or ".join(metric.forms)
            return f"{metric.name} measures {forms}, but task {name} predicts {task.label_type}."
    if pooling.by_row and not isinstance(metric, ExactMatch):
        return f"found {metric.name} with by_row: true, expected exact_match. Leave out by_row."
    if metric.needs_probabilities and len({tuple(task.labels) for task in own.values()}) > 1:
        labels = "; ".join(f"{name} {', '.join(task.labels)}" for name, task in own.items())
        return f"{metric.name} needs tasks with the same labels, found {labels}."
    return None


def _labels_of(names: Sequence[str], tasks: Mapping[str, Task]) -> list[str]:
    """Return all labels that several tasks know, in the order in which they are met."""
    return list(dict.fromkeys(label for name in names for label in tasks[name].labels))
