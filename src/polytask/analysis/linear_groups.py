"""Tasks that share a linear model: counted with one vocabulary, fitted to one matrix."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from scipy import sparse

from polytask.analysis.linear_features import (
    Counts,
    Design,
    Matrix,
    Reading,
    TextReading,
    WordReading,
    count,
)
from polytask.analysis.linear_models import MODELS, USUAL_STRENGTH, Answers, LinearModel
from polytask.core.batch import Fields
from polytask.tasks.metrics.base import Floats

Score: TypeAlias = Callable[[Sequence[Any], Sequence[Any], Sequence[Floats]], float]
"""References, predictions and probabilities (empty for numbers) -> the higher, the better."""


@dataclass(frozen=True)
class LabelledRows:
    """The input fields of rows, and their references, none of which is missing."""

    fields: Sequence[Fields]
    references: Sequence[Any]


@dataclass(frozen=True)
class LinearTask:
    """A task as plain data.

    :param form: The form of its references: label, labels, number or tags (see ``Task.form``).
    :param labels: The label set, in the order of probabilities; empty for numbers.
    :param train: At least one row.
    :param validation: Rows that the strength of the penalty is chosen on; may be empty.
    :param test: Rows to predict.
    :param score: What the strength is chosen by.
    """

    form: str
    labels: Sequence[str]
    train: LabelledRows
    validation: LabelledRows
    test: Sequence[Fields]
    score: Score


@dataclass(frozen=True)
class CountedTask:
    """A task, how its rows are read, and the counts of their terms."""

    task: LinearTask
    reading: Reading
    train: Counts
    validation: Counts
    test: Counts

    def targets(self, rows: LabelledRows) -> list[Any]:
        """The labels of rows, one for each row of their counts."""
        return self.reading.flatten(rows.fields, rows.references)


def choose_strength(groups: Sequence[Group]) -> float:
    """The strength that scores best on the validation rows of all tasks, as a mean.

    Tasks with the same label set have one strength, also where they share no model: few validation
    rows would choose at random.
    """
    strengths = MODELS[groups[0].tasks[0].task.form].strengths
    judges = [task.task for group in groups for task in group.tasks if task.task.validation.fields]
    if len(strengths) == 1 or not judges:
        return USUAL_STRENGTH
    scores_TS = np.vstack([group.validate(strengths) for group in groups])
    return strengths[int(scores_TS.mean(0).argmax())]


def count_group(group: Mapping[str, LinearTask]) -> dict[str, CountedTask]:
    """Count the rows of tasks with one vocabulary."""
    readings = {
        name: WordReading() if task.form == "tags" else TextReading(task.train.fields)
        for name, task in group.items()
    }
    blocks = [
        readings[name].columns(fields)
        for name, task in group.items()
        for fields in (task.train.fields, task.validation.fields, task.test)
    ]
    counts = iter(count(blocks))
    return {
        name: CountedTask(task, readings[name], next(counts), next(counts), next(counts))
        for name, task in group.items()
    }


@dataclass(frozen=True)
class Group:
    """Tasks with the same form and label set that share a model.

    :param private: Whether each task also has coefficients of its own.
    """

    tasks: Sequence[CountedTask]
    private: bool
    seed: int

    def validate(self, strengths: Sequence[float]) -> Floats:
        """How training rows score on validation rows.

        :return: A row per task that has validation rows, a column per strength.
        """
        training = [member.train for member in self.tasks]
        design = Design(training, private=self.private)
        matrix = design(training)
        targets = [target for member in self.tasks for target in member.targets(member.task.train)]
        held_out = design([member.validation for member in self.tasks])
        models = (self._fit(matrix, targets, strength) for strength in strengths)
        return np.array([self._scores(_answer(model, held_out)) for model in models]).T

    def predict(self, strength: float) -> tuple[list[Answers], int]:
        """Answers for the test rows, from training and validation rows; number of parameters."""
        training = [_stack(member.train, member.validation) for member in self.tasks]
        design = Design(training, private=self.private)
        targets = [
            target
            for member in self.tasks
            for rows in (member.task.train, member.task.validation)
            for target in member.targets(rows)
        ]
        model = self._fit(design(training), targets, strength)
        answers = _answer(model, design([member.test for member in self.tasks]))
        return self._by_task(answers, [member.task.test for member in self.tasks]), model.parameters

    def _fit(self, matrix: Matrix, targets: Sequence[Any], strength: float) -> LinearModel:
        task = self.tasks[0].task
        model = MODELS[task.form](task.labels, strength, self.seed)
        model.fit(matrix, targets)
        return model

    def _by_task(self, answers: Answers, rows: Sequence[Sequence[Fields]]) -> list[Answers]:
        """The answers for the rows of all tasks in turn, apart again."""
        predictions, probabilities = iter(answers.predictions), iter(answers.probabilities)
        return [
            Answers(
                member.reading.regroup(own, predictions),
                [np.array(row) for row in member.reading.regroup(own, probabilities)],
            )
            for member, own in zip(self.tasks, rows, strict=True)
        ]

    def _scores(self, answers: Answers) -> list[float]:
        """Of the tasks with validation rows; a score that is undefined counts as 0."""
        tasks = [member.task for member in self.tasks]
        found = self._by_task(answers, [task.validation.fields for task in tasks])
        scores = [
            task.score(task.validation.references, *answer)
            for task, answer in zip(tasks, found, strict=True)
            if task.validation.fields
        ]
        return [0.0 if math.isnan(score) else score for score in scores]


def _stack(one: Counts, other: Counts) -> Counts:
    """The counts of some rows, then of others."""
    pairs = zip(one, other, strict=True)
    return tuple(sparse.vstack(pair, format="csr") for pair in pairs)


def _answer(model: LinearModel, matrix: Matrix) -> Answers:
    """The answers of a model; scikit-learn wants at least one row."""
    return model.answer(matrix) if matrix.shape[0] else Answers([], [])
