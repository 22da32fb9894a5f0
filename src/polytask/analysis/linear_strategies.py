"""The linear baselines on the rows of a comparison."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from polytask.analysis.linear import CountedTasks, LinearResult, count_tasks, fit_predict
from polytask.analysis.linear_groups import LabelledRows, LinearTask
from polytask.assembly.data.groups import groups_of
from polytask.assembly.data.labels import Labels
from polytask.assembly.data.loading import TRAIN, VALIDATION, Data
from polytask.assembly.data.scoring import metrics_of
from polytask.assembly.run.evaluation import held_out
from polytask.core.batch import Fields
from polytask.core.columns import ColumnType
from polytask.data.rows import each_row
from polytask.evaluation.score import Outcome
from polytask.recipe import Recipe
from polytask.tasks import Metric, Task


def count_rows(
    recipe: Recipe, data: Data, tasks: Mapping[str, Task], labels: Mapping[str, Labels]
) -> CountedTasks:
    """Count the terms of all rows of a comparison, for every linear strategy.

    Where results are reported on validation rows, no model learns from them or is chosen by them.
    """
    chosen = metrics_of(recipe, tasks)
    reported = held_out(data)
    validation = {
        name: LabelledRows([], [])
        if reported == VALIDATION
        else select_labelled(name, data, Labels(task), VALIDATION)
        for name, task in tasks.items()
    }
    return count_tasks(
        {
            name: LinearTask(
                label_type=task.label_type,
                labels=task.labels,
                train=select_labelled(name, data, labels[name], TRAIN),
                validation=validation[name],
                test=select_labelled(name, data, Labels(task), reported).fields,
                score=_orient(chosen[name][0], validation[name]),
                types=_types(name, data),
            )
            for name, task in tasks.items()
        }
    )


def linear_answers(
    strategy: str, counted: CountedTasks, data: Data, tasks: Mapping[str, Task]
) -> tuple[LinearResult, dict[str, Outcome]]:
    """Fit one strategy and predict the held-out rows; a task without a model has no answers."""
    found = fit_predict(strategy, counted)
    outcomes = {}
    for name, task in tasks.items():
        if name in found.without:
            outcomes[name] = Outcome([], [])
            continue
        rows = select_labelled(name, data, Labels(task), held_out(data))
        outcomes[name] = Outcome(
            rows.references, *found.answers[name], rows=rows.places, groups=rows.groups
        )
    return found, outcomes


def select_labelled(name: str, data: Data, labels: Labels, split: str) -> LabelledRows:
    """Return the rows of a split that have a label of a task, in the order of scoring."""
    fields: list[Fields] = []
    references: list[Any] = []
    places: list[Hashable] = []
    parts = [
        (view, data.tables[view.source][split])
        for view in data.views
        if name in view.tasks and split in data.tables[view.source]
    ]
    for view, table in parts:
        for index, row in enumerate(each_row(table)):
            reference = labels.reference(view.source, index, row)
            if reference is not None:
                fields.append(view.fields(row))
                references.append(reference)
                places.append((view.source, index))
    return LabelledRows(fields, references, places, groups_of(parts, places))


def _types(name: str, data: Data) -> tuple[ColumnType, ...]:
    """Return what the input columns of a task hold, in its first source."""
    view = next(view for view in data.views if name in view.tasks)
    table = next(iter(data.tables[view.source].values()))
    return tuple(table.type_of(column) for column in view.columns)


def _orient(metric: Metric, rows: LabelledRows) -> Any:
    """Return the metric of some rows, negated if lower is better."""
    sign = 1 if metric.higher_is_better else -1
    groups = () if metric.group is None else rows.groups.get(metric.group, ())

    def value(references: Sequence[Any], predictions: Sequence[Any], probabilities: Any) -> float:
        return sign * metric(references, predictions, probabilities, groups)

    return value
