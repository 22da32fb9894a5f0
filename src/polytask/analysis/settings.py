"""The settings of a recipe that are tuned: where they may lie, and a recipe that has others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from polytask.balancing import balancers
from polytask.core.registry import ByTask
from polytask.recipe import Recipe

Settings = Mapping[str, float]
"""``learning_rate``, ``balancing.OPTION`` and ``weights.TASK``, to numbers."""

RATE, OPTION, WEIGHT = "learning_rate", "balancing.", "weights."
_RATES, _OPTIONS, _WEIGHTS = 10.0, 4.0, 4.0
"""How many times more or less than in the recipe a setting may be."""

_GRID = 12
"""Most points of the grid of static weights."""


@dataclass(frozen=True)
class Dimension:
    """Where one setting may lie, on a logarithmic scale.

    :param value: The value in the recipe.
    :param whole: Whether it is a whole number.
    """

    name: str
    value: float
    low: float
    high: float
    whole: bool = False


def dimensions(recipe: Recipe, *, weights: bool = False) -> list[Dimension]:
    """Return the settings of a model that are tuned.

    The learning rate; where several tasks share the model, also the numeric options of the
    balancing method.

    :param weights: Whether to tune static weights of the tasks instead of those options.
    """
    rate = recipe.training.learning_rate
    found = [Dimension(RATE, rate, rate / _RATES, rate * _RATES)]
    if weights:
        found += [Dimension(WEIGHT + t, 1.0, 1 / _WEIGHTS, _WEIGHTS) for t in recipe.tasks]
    elif len(recipe.tasks) > 1:
        found += _options(recipe)
    return found


def with_settings(recipe: Recipe, settings: Settings) -> Recipe:
    """Return the recipe with other settings."""
    training, balancing = recipe.training, recipe.balancing.model_dump()
    if RATE in settings:
        factor = settings[RATE] / training.learning_rate
        heads = training.head_learning_rate
        rates = {
            "learning_rate": settings[RATE],
            "head_learning_rate": heads and heads * factor,
            "task_learning_rates": {
                task: rate * factor for task, rate in training.task_learning_rates.items()
            },
        }
        training = training.model_copy(update=rates)
    for name, value in settings.items():
        if name.startswith(OPTION):
            balancing[name.removeprefix(OPTION)] = value
    if any(name.startswith(WEIGHT) for name in settings):
        balancing["weights"] = [settings[WEIGHT + task] for task in recipe.tasks]
    update = {"training": training, "balancing": balancers.parse(balancing)}
    return recipe.model_copy(update=update)


def weight_grid(tasks: Sequence[str]) -> list[dict[str, float]]:
    """Return static weights: all equal, then each task in turn weighted by 4, then by 2.

    :param tasks: Names of the tasks; if there are more than the grid has points, the last ones
        are left out.
    """
    equal = {WEIGHT + task: 1.0 for task in tasks}
    raised = [{**equal, WEIGHT + task: factor} for factor in (4.0, 2.0) for task in tasks]
    return [equal, *raised][:_GRID]


def _options(recipe: Recipe) -> Iterator[Dimension]:
    """Yield the options of the balancing method that are positive numbers."""
    for name, field in type(recipe.balancing).model_fields.items():
        value = getattr(recipe.balancing, name)
        names_task = any(isinstance(mark, ByTask) for mark in field.metadata)
        if field.annotation in (int, float) and not names_task and value and value > 0:
            low, high = _limits(value, field.metadata)
            if low < high:
                yield Dimension(OPTION + name, value, low, high, field.annotation is int)


def _limits(value: float, bounds: Sequence[Any]) -> tuple[float, float]:
    """Return the range around a value within the bounds of the option; open ends stay outside.

    :param bounds: Marks of a type, such as ``annotated_types.Ge``.
    """
    low, high = value / _OPTIONS, value * _OPTIONS
    for bound in bounds:
        low = max(low, getattr(bound, "ge", low), _inside(getattr(bound, "gt", None), value, low))
        high = min(
            high, getattr(bound, "le", high), _inside(getattr(bound, "lt", None), value, high)
        )
    return low, high


def _inside(end: float | None, value: float, otherwise: float) -> float:
    """Return a point a quarter of the way from an open end to the value."""
    return otherwise if end is None else end + (value - end) / _OPTIONS
