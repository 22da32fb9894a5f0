"""Tasks that share a linear model: counted with one vocabulary, fitted to one matrix."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from polytask.analysis.linear_features import Counts, Design, LabelUnits, Matrix, stack
from polytask.analysis.linear_kinds import Kind, Method, choose_reading
from polytask.analysis.linear_models import LinearModel, LinearPredictions
from polytask.core.batch import Fields
from polytask.core.columns import ColumnType
from polytask.evaluation.merit import merit
from polytask.tasks.metrics.base import Floats

Score: TypeAlias = Callable[[Sequence[Any], Sequence[Any], Sequence[Floats]], float]
"""References, predictions and probabilities (empty for numbers) -> the higher, the better."""


@dataclass(frozen=True)
class LabelledRows:
    """Rows with their input fields and references.

    :param references: None is missing.
    :param places: Source and position of each row.
    :param groups: The group of each row by every column that metrics form groups by.
    """

    fields: Sequence[Fields]
    references: Sequence[Any]
    places: Sequence[Hashable] = ()
    groups: Mapping[str, Sequence[Hashable]] = field(default_factory=dict)


@dataclass(frozen=True)
class LinearTask:
    """A task as plain data.

    :param label_type: The type of its labels: label, labels, number or tags (see ``Task.label_type``).
    :param labels: The label set, in the order of probabilities; empty for numbers.
    :param train: At least one row.
    :param validation: Rows that the strength of the penalty is chosen on; may be empty.
    :param test: Rows to predict.
    :param score: The score that the strength is chosen by.
    :param types: The types of the input columns.
    """

    label_type: str
    labels: Sequence[str]
    train: LabelledRows
    validation: LabelledRows
    test: Sequence[Fields]
    score: Score
    types: Sequence[ColumnType] = ("text",)


@dataclass(frozen=True)
class CountedTask:
    """A task, how its rows are read, and what they hold in numbers."""

    plain: LinearTask
    kind: Kind
    reading: LabelUnits
    train: Counts
    validation: Counts
    test: Counts

    def targets(self, rows: LabelledRows) -> list[Any]:
        """Return the labels of rows, one for each row of their counts."""
        return self.reading.flatten(rows.fields, rows.references)


def count_group(group: Mapping[str, LinearTask], kind: Kind) -> dict[str, CountedTask]:
    """Turn the rows of tasks into numbers, with the same columns for all of them."""
    readings = {
        n: choose_reading(kind, task.label_type, task.train.fields) for n, task in group.items()
    }
    blocks = [
        (readings[name], fields)
        for name, task in group.items()
        for fields in (task.train.fields, task.validation.fields, task.test)
    ]
    types = next(iter(group.values())).types
    counts = iter(kind.describe([one for one, _ in blocks], [rows for _, rows in blocks], types))
    return {
        name: CountedTask(task, kind, readings[name], next(counts), next(counts), next(counts))
        for name, task in group.items()
    }


@dataclass(frozen=True)
class TaskGroup:
    """Tasks with the same type of labels and label set that share a model.

    :param method: The models.
    :param private: Whether each task also has private coefficients.
    """

    tasks: Mapping[str, CountedTask]
    method: Method
    private: bool
    seed: int

    @property
    def model(self) -> type[LinearModel]:
        """The model for the type of the labels."""
        return self.method.models[self._first.label_type]

    @property
    def _first(self) -> LinearTask:
        return next(iter(self.tasks.values())).plain

    def validate(self, strengths: Sequence[float]) -> Floats:
        """Return the validation scores of a model of the training rows.

        :return: A score per task that has validation rows (rows) and strength (columns).
        """
        tasks = self.tasks.values()
        design = self._design([task.train for task in tasks])
        matrix = design([task.train for task in tasks])
        targets = [target for task in tasks for target in task.targets(task.plain.train)]
        held_out = design([task.validation for task in tasks])
        models = (self._fit(matrix, targets, strength) for strength in strengths)
        return np.array([self._scores(_answer(model, held_out)) for model in models]).T

    def predict(self, strength: float) -> tuple[dict[str, LinearPredictions], int]:
        """Predict the test rows from training and validation rows; also count parameters."""
        tasks = self.tasks.values()
        training = [
            tuple(map(stack, zip(task.train, task.validation, strict=True))) for task in tasks
        ]
        design = self._design(training)
        targets = [
            target
            for task in tasks
            for rows in (task.plain.train, task.plain.validation)
            for target in task.targets(rows)
        ]
        model = self._fit(design(training), targets, strength)
        answers = _answer(model, design([task.test for task in tasks]))
        return self._by_task(answers, [task.plain.test for task in tasks]), model.parameters

    def _design(self, training: Sequence[Counts]) -> Design:
        return self.method.design(training, private=self.private, types=self._first.types)

    def _fit(self, matrix: Matrix, targets: Sequence[Any], strength: float) -> LinearModel:
        model = self.model(self._first.labels, strength, self.seed, self._first.types)
        model.fit(matrix, targets)
        return model

    def _by_task(
        self, answers: LinearPredictions, rows: Sequence[Sequence[Fields]]
    ) -> dict[str, LinearPredictions]:
        """Split the predictions for the rows of all tasks by task."""
        predictions, probabilities = iter(answers.predictions), iter(answers.probabilities)
        return {
            name: LinearPredictions(
                task.reading.regroup(own, predictions),
                [np.array(row) for row in task.reading.regroup(own, probabilities)],
            )
            for (name, task), own in zip(self.tasks.items(), rows, strict=True)
        }

    def _scores(self, answers: LinearPredictions) -> list[float]:
        """Return the scores of the tasks with validation rows; nan where undefined."""
        plain = {name: task.plain for name, task in self.tasks.items()}
        found = self._by_task(answers, [task.validation.fields for task in plain.values()])
        return [
            task.score(task.validation.references, *found[name])
            for name, task in plain.items()
            if task.validation.fields
        ]


def choose_strength(groups: Sequence[TaskGroup]) -> float:
    """Choose the strength with the best validation score, as a mean over the tasks of all groups.

    Without validation rows, or if no score is defined, the middle one that the model offers. A
    strength with which more scores are defined is better.
    """
    tasks = [task.plain for group in groups for task in group.tasks.values()]
    strengths = groups[0].model.strengths
    if len(strengths) == 1 or not any(task.validation.fields for task in tasks):
        return strengths[len(strengths) // 2]
    scores_TS = np.vstack([group.validate(strengths) for group in groups])
    merits = [
        merit([[_none_if_nan(score)] for score in scores_T]) for scores_T in scores_TS.T.tolist()
    ]
    best = merits.index(max(merits)) if any(merits) else len(strengths) // 2
    return strengths[best]


def _none_if_nan(score: float) -> float | None:
    return None if math.isnan(score) else score


def _answer(model: LinearModel, matrix: Matrix) -> LinearPredictions:
    """Predict with a model, or return nothing for no rows: scikit-learn needs at least one."""
    return model.answer(matrix) if matrix.shape[0] else LinearPredictions([], [])
