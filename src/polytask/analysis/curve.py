"""Up to how many rows of each task sharing pays: one model for all against one for each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from polytask.analysis.trainings import Trainer, relative_gain
from polytask.analysis.uncertainty import known_for_all, mean_or_none, over_tasks
from polytask.recipe import Recipe


def curve(trainer: Trainer, sizes: Sequence[int]) -> dict[str, Any]:
    """Return the record of ``curve.json``.

    :param sizes: Training rows of a task, ascending.
    :return: ``points``, one for each size: scores ``single`` and ``joint`` by task (mean over
        seeds, higher is better), the relative ``gain`` of sharing over tasks with its standard
        ``error`` over seeds; None where undefined. The gain is ``without`` tasks that have none. ``stops_paying``: rows at which the
        gain becomes 0, or None.
    """
    tasks = [*trainer.recipe.tasks]
    points = [_point(trainer, tasks, size) for size in sizes]
    crossing = find_crossing(sizes, [point["gain"] for point in points])
    return {
        "format": 1,
        "tasks": tasks,
        "seeds": list(trainer.seeds),
        "points": points,
        "stops_paying": crossing,
    }


def trainings_of_curve(tasks: int, sizes: int, seeds: int) -> int:
    """Return the number of trainings of a learning curve."""
    return sizes * seeds * (tasks + 1)


def _point(trainer: Trainer, tasks: Sequence[str], size: int) -> dict[str, Any]:
    limited = with_limit(trainer.recipe, size)
    joint = trainer.scores(tasks, "held out", limited)
    single = {task: trainer.scores([task], "held out", limited) for task in tasks}
    gains = {
        t: [relative_gain(a[t], b[t]) for a, b in zip(joint, single[t], strict=True)] for t in tasks
    }
    mean, error = over_tasks(gains)
    return {
        "rows": size,
        "single": {t: mean_or_none([each[t] for each in single[t]]) for t in tasks},
        "joint": {t: mean_or_none([each[t] for each in joint]) for t in tasks},
        "without": [t for t in tasks if t not in known_for_all(gains)],
        "gain": mean,
        "error": error,
    }


def with_limit(recipe: Recipe, size: int) -> Recipe:
    """Return the recipe with at most so many training rows of each task."""
    limited = {
        name: section.model_copy(update={"limit": min(size, section.limit or size)})
        for name, section in recipe.tasks.items()
    }
    return recipe.model_copy(update={"tasks": limited})


def find_crossing(sizes: Sequence[int], gains: Sequence[float | None]) -> float | None:
    """Return the size where the gain last becomes 0, by linear interpolation over log size.

    Undefined gains are left out. None if it is positive at the largest size, or at none.
    """
    points = [(size, gain) for size, gain in zip(sizes, gains, strict=True) if gain is not None]
    for (small, before), (large, after) in reversed([*pairwise(points)]):
        if after > 0:
            return None
        if before > 0:
            share = before / (before - after)
            return math.exp(math.log(small) + share * math.log(large / small))
    return None
