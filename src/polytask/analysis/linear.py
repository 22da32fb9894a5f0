"""Linear baselines on tf-idf terms: what a comparison has to beat.

Three strategies. ``linear`` fits a model per task. ``linear_pooled`` fits one model to the rows of
all tasks that have the same label set, as if they were one task. ``linear_shared_private`` gives
that model a copy of the terms for all tasks and one for each: Daumé III, "Frustratingly Easy
Domain Adaptation", ACL 2007. https://aclanthology.org/P07-1033

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
    Group,
    LabelledRows,
    LinearTask,
    choose_strength,
    count_group,
)
from polytask.analysis.linear_models import MODELS, Answers
from polytask.core.errors import RecipeError

__all__ = [
    "STRATEGIES",
    "Answers",
    "CountedTasks",
    "LabelledRows",
    "LinearResult",
    "LinearTask",
    "count_tasks",
    "fit_predict",
]


class Strategy(NamedTuple):
    """What tasks with the same label set share.

    :param pooled: Whether they share a model.
    :param private: Whether each also has coefficients of its own in it.
    """

    pooled: bool
    private: bool


STRATEGIES: Mapping[str, Strategy] = {
    "linear": Strategy(pooled=False, private=False),
    "linear_pooled": Strategy(pooled=True, private=False),
    "linear_shared_private": Strategy(pooled=True, private=True),
}


class CountedTasks(NamedTuple):
    """What all strategies start from.

    :param groups: Tasks that can share a model together.
    :param seconds: What counting took.
    """

    groups: list[dict[str, CountedTask]]
    seconds: float


class LinearResult(NamedTuple):
    """What a strategy found.

    :param answers: Answers for the test rows of every task.
    :param strengths: The strength that was chosen for the model of every task.
    :param parameters: Number of coefficients and intercepts of all models.
    :param seconds: What the strategy would take by itself, counting terms included.
    """

    answers: dict[str, Answers]
    strengths: dict[str, float]
    parameters: int
    seconds: float


def count_tasks(tasks: Mapping[str, LinearTask]) -> CountedTasks:
    """Count the terms of all rows, once for all strategies.

    Tasks can share a model if they have the same label type, label set and number of input fields.

    :raises RecipeError: If a task has no linear model.
    :raises DataError: If a row is neither texts nor words.
    """
    started = time.perf_counter()
    _require_models(tasks)
    groups: dict[object, dict[str, LinearTask]] = {}
    for name, task in tasks.items():
        label_set = frozenset(task.labels) or name  # numbers are on a scale of their own
        key = task.label_type, label_set, len(task.train.fields[0])
        groups.setdefault(key, {})[name] = task
    counted = [count_group(group) for group in groups.values()]
    return CountedTasks(counted, time.perf_counter() - started)


def fit_predict(strategy: str, counted: CountedTasks, seed: int = 0) -> LinearResult:
    """Fit the models of a strategy and predict the test rows.

    :param strategy: One of ``STRATEGIES``.
    :param seed: Matters for tagging only; other models do not depend on chance.
    :raises DataError: If a row has more or fewer tags than words, or no training row has words.
    """
    started = time.perf_counter()
    result = LinearResult({}, {}, 0, 0.0)
    for tasks in counted.groups:
        groups = _groups(STRATEGIES[strategy], tasks, seed)
        strength = choose_strength(groups)
        result.strengths.update(dict.fromkeys(tasks, strength))
        for group in groups:
            answers, parameters = group.predict(strength)
            result.answers.update(answers)
            result = result._replace(parameters=result.parameters + parameters)
    return result._replace(seconds=counted.seconds + time.perf_counter() - started)


def _require_models(tasks: Mapping[str, LinearTask]) -> None:
    """Refuse tasks that no linear model learns."""
    mistakes = [
        f"compare.strategies: no linear baseline can learn tasks.{name}, which predicts "
        f"{task.label_type or 'something of its own'}; they learn {', '.join(MODELS)}. "
        f"Leave out: {', '.join(STRATEGIES)}."
        for name, task in tasks.items()
        if task.label_type not in MODELS
    ]
    if mistakes:
        raise RecipeError(mistakes)


def _groups(strategy: Strategy, tasks: Mapping[str, CountedTask], seed: int) -> list[Group]:
    """The tasks of every model of a strategy."""
    if strategy.pooled:
        return [Group(tasks, strategy.private, seed)]
    return [Group({name: task}, strategy.private, seed) for name, task in tasks.items()]
