"""Baselines without a shared encoder: what a comparison has to beat.

Texts are tf-idf terms, cells of tables numbers and categories, images pixels, sounds mean log-spectra.
Four strategies. ``linear`` fits a model per task. ``linear_pooled`` fits one model to the rows of
all tasks that have the same label set, as if they were one task. ``linear_shared_private`` gives
that model a copy of the terms for all tasks and one for each: Daumé III, "Frustratingly Easy
Domain Adaptation", ACL 2007. https://aclanthology.org/P07-1033. ``trees`` fits boosted trees to the
cells of each task.

The strength of the penalty is chosen on the validation rows, one for all tasks with the same label
set, as the few rows of one task would choose at random. Models are then fitted again to training
and validation rows together. Test rows are only predicted.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

from polytask.analysis.linear_groups import (
    CountedTask,
    LabelledRows,
    LinearTask,
    TaskGroup,
    choose_strength,
    count_group,
)
from polytask.analysis.linear_kinds import Kind, Method, kind_of
from polytask.analysis.linear_models import LinearPredictions

__all__ = [
    "STRATEGIES",
    "CountedTasks",
    "LabelledRows",
    "LinearPredictions",
    "LinearResult",
    "LinearTask",
    "count_tasks",
    "fit_predict",
]


class BaselineSharing(NamedTuple):
    """What tasks with the same label set share.

    :param pooled: Whether they share a model.
    :param private: Whether each also has private coefficients in it.
    :param trees: Whether models are boosted trees.
    """

    pooled: bool = False
    private: bool = False
    trees: bool = False

    def method(self, kind: Kind) -> Method | None:
        """Return the models for rows of a kind, if there are any."""
        return kind.trees if self.trees else kind.linear


STRATEGIES: Mapping[str, BaselineSharing] = {
    "linear": BaselineSharing(),
    "linear_pooled": BaselineSharing(pooled=True),
    "linear_shared_private": BaselineSharing(pooled=True, private=True),
    "trees": BaselineSharing(trees=True),
}


class CountedTasks(NamedTuple):
    """The input of all strategies.

    :param groups: Tasks that can share a model together.
    :param without: Why each other task has no baseline.
    :param seconds: The time that counting took.
    """

    groups: list[dict[str, CountedTask]]
    without: dict[str, str]
    seconds: float


class LinearResult(NamedTuple):
    """The result of a strategy.

    :param answers: Answers for the test rows of every task.
    :param strengths: The strength that was chosen for the model of every task.
    :param parameters: Number of coefficients and intercepts of all models.
    :param without: Why each other task has no model.
    :param seconds: The time of the strategy alone, including the counting of terms.
    """

    answers: dict[str, LinearPredictions]
    strengths: dict[str, float]
    parameters: int
    without: dict[str, str]
    seconds: float


def count_tasks(tasks: Mapping[str, LinearTask]) -> CountedTasks:
    """Turn all rows into numbers, once for all strategies.

    Tasks can share a model if they have the same label type, label set and types of input columns.

    :raises DataError: If a row does not hold what its columns say.
    """
    started = time.perf_counter()
    kinds = {name: kind_of(task.types, task.label_type) for name, task in tasks.items()}
    without = {name: kind for name, kind in kinds.items() if isinstance(kind, str)}
    groups: dict[object, dict[str, LinearTask]] = {}
    for name, task in tasks.items():
        label_set = frozenset(task.labels) or name  # numbers of two tasks differ in scale
        groups.setdefault((task.label_type, label_set, tuple(task.types)), {})[name] = task
    counted = [
        count_group(group, kind)
        for group in groups.values()
        if isinstance(kind := kinds[next(iter(group))], Kind)
    ]
    return CountedTasks(counted, without, time.perf_counter() - started)


def fit_predict(strategy: str, counted: CountedTasks, seed: int = 0) -> LinearResult:
    """Fit the models of a strategy and predict the test rows.

    :param strategy: One of ``STRATEGIES``.
    :param seed: Matters for tagging only; other models do not depend on chance.
    :raises DataError: If a row has more or fewer tags than words, or no training row has words.
    """
    started = time.perf_counter()
    shared = STRATEGIES[strategy]
    result = LinearResult({}, {}, 0, dict(counted.without), 0.0)
    for tasks in counted.groups:
        first = next(iter(tasks.values()))
        method = shared.method(first.kind)
        if method is None:
            reason = f"reads {' and '.join(sorted({*first.plain.types}))}"
            result.without.update(dict.fromkeys(tasks, reason))
            continue
        groups = [
            TaskGroup(own, method, shared.private, seed)
            for own in ([tasks] if shared.pooled else [{name: t} for name, t in tasks.items()])
        ]
        strength = choose_strength(groups)
        result.strengths.update(dict.fromkeys(tasks, strength))
        for group in groups:
            answers, parameters = group.predict(strength)
            result.answers.update(answers)
            result = result._replace(parameters=result.parameters + parameters)
    return result._replace(seconds=counted.seconds + time.perf_counter() - started)
