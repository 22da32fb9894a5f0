"""From how much tasks help each other to groups of them, as recipes that run, and whether it held."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from polytask.analysis.grouping import Grouping, best_groupings, gain_in_group, value_of
from polytask.analysis.trainings import Trainer, part_of, relative_gain
from polytask.analysis.uncertainty import (
    Floats,
    known_for_all,
    matrix_record,
    mean_and_error,
    mean_or_none,
    over_tasks,
)
from polytask.assembly.data.loading import Data
from polytask.core.files import write_text
from polytask.recipe import Recipe, dump

OBJECTIVE = (
    "the sum over tasks of the mean gain that the other tasks of its group give a task, one by "
    "one; a task alone gains 0"
)

_SAME = 1e-12  # gains that differ by less are rounding


def propose(
    samples: Sequence[Floats], tasks: Sequence[str], models: int | None, *, overlapping: bool
) -> dict[str, Any]:
    """Return the best groups for every number of models, and the proposed groups.

    The best of many groupings is partly so by chance. How many models are proposed is therefore
    found by cross-validation: groups are made from one half of the samples, and judged by the
    other. It is the fewest whose objective there is within one standard error of the best: Breiman,
    Friedman, Olshen and Stone, "Classification and Regression Trees", 1984, section 3.4.3, with
    models in place of nodes. A single sample is taken as it is.

    :param samples: Of the gains, a row per task and a column per helper; what is not known in one
        has the mean of the others, and where it never is, no gain.
    :param models: The budget; None: as many as there are tasks.
    :return: ``by_models``, the best ``groups`` of at most so many models, ``value`` predicted from
        all samples and ``cross_validated``; ``proposed``, the same of the groups proposed;
        ``instead``, where more models are predicted to gain more: how many ``models``, and how much
        more they gain in the samples they were not made from, ``cross_validated`` with its standard
        ``error``; else None.
    """
    mean_TT = np.nan_to_num(np.array(matrix_record(samples)["mean"], dtype=float))
    known = [np.where(np.isfinite(each_TT), each_TT, mean_TT) for each_TT in samples]
    most = models or len(tasks)
    found = best_groupings(mean_TT, most, overlapping=overlapping)
    halves = known[::2], known[1::2]
    folds = [(halves[0], halves[1]), (halves[1], halves[0])] if len(known) > 1 else [(known, known)]
    values_KS = np.concatenate(
        [_judge(made, judges, most, overlapping=overlapping) for made, judges in folds], axis=1
    )
    best_S = values_KS[values_KS.mean(1).argmax()]
    good = [_no_better(best_S - values_S) for values_S in values_KS]
    chosen = good.index(True)
    return {
        "format": 1,
        "tasks": list(tasks),
        "objective": OBJECTIVE,
        "overlapping": overlapping,
        "by_models": [
            {
                "models": count,
                **_describe_grouping(mean_TT, tasks, each),
                "cross_validated": float(value),
            }
            for count, (each, value) in enumerate(zip(found, values_KS.mean(1), strict=True), 1)
        ],
        "proposed": _describe_grouping(mean_TT, tasks, found[chosen]),
        "instead": _instead(found, values_KS, chosen),
    }


def _instead(found: Sequence[Grouping], values_KS: Floats, chosen: int) -> dict[str, Any] | None:
    """Return the fewest models with the highest predicted gain; None if they are proposed."""
    most = max(each.value for each in found)
    best = next(at for at, each in enumerate(found) if each.value >= most - _SAME)
    if best <= chosen:
        return None
    more, error = mean_and_error((values_KS[best] - values_KS[chosen]).tolist())
    return {"models": best + 1, "cross_validated": more, "error": error}


def _judge(
    made: Sequence[Floats], judges: Sequence[Floats], models: int, *, overlapping: bool
) -> Floats:
    """Return the values in some samples of groups made from others, for each number of models."""
    groupings = best_groupings(np.mean(made, axis=0), models, overlapping=overlapping)
    return np.array(
        [[value_of(judge, each.groups, each.serves) for judge in judges] for each in groupings]
    )


def _no_better(lost_S: Floats) -> bool:
    """Return whether a loss is no larger than its standard error."""
    lost, error = mean_and_error(lost_S.tolist())
    return (lost or 0.0) <= (error or 0.0) + _SAME


def _describe_grouping(gains_TT: Floats, tasks: Sequence[str], found: Grouping) -> dict[str, Any]:
    pairs = zip(found.groups, found.serves, strict=True)
    return {
        "groups": [[tasks[task] for task in group] for group in found.groups],
        "serves": [[tasks[task] for task in group] for group in found.serves],
        "value": found.value,
        "exact": found.exact,
        "gains": {
            tasks[task]: gain_in_group(gains_TT, task, group)
            for group, own in pairs
            for task in own
        },
    }


def write_recipes(
    recipe: Recipe, groups: Sequence[Sequence[str]], folder: Path, data: Data | None
) -> list[Path]:
    """Write one recipe per group to ``folder/groups-K``, replacing older recipes there.

    :param data: The rows, if a budget in steps is to be divided by them.
    """
    place = folder / f"groups-{len(groups)}"
    for old in place.glob("*.yaml"):
        old.unlink()
    paths = []
    for number, group in enumerate(groups, start=1):
        part = part_of(recipe, group, data)
        named = part.model_copy(update={"name": f"{recipe.name}-{len(groups)}-{number}"})
        paths.append(place / f"{number}-{'-'.join(group)[:60]}.yaml")
        write_text(paths[-1], dump(named))
    return paths


def trainings_to_verify(tasks: int, groups: int, seeds: int) -> int:
    """Return the number of trainings that verification takes."""
    return seeds * (tasks + groups + 1)


def verify(trainer: Trainer, proposed: dict[str, Any]) -> dict[str, Any]:
    """Train the groups, every task alone and all together, and see whether the prediction held.

    :return: ``gains`` over the task alone on held-out rows: ``grouped`` and ``joint``, each with
        its standard ``error`` over seeds; the same for each task, with what was ``predicted``.
        ``held`` if grouping is at least as good as both, and the share of tasks whose gain has the
        predicted ``sign``. Means are ``without`` tasks that have an undefined gain; if there are
        no others, they are None.
    """
    tasks = [*trainer.recipe.tasks]
    alone = {task: _of(trainer, [task], task) for task in tasks}
    grouped = {
        task: _gains(_of(trainer, group, task), alone[task])
        for group, own in zip(proposed["groups"], proposed["serves"], strict=True)
        for task in own
    }
    joint = {task: _gains(_of(trainer, tasks, task), alone[task]) for task in tasks}
    over = [t for t in tasks if t in known_for_all(grouped) and t in known_for_all(joint)]
    signs = [
        (proposed["gains"][t] > 0) == (statistics.fmean(grouped[t]) > 0)
        for t in over
        if proposed["gains"][t]
    ]
    ours, error = over_tasks({t: grouped[t] for t in over})
    theirs, joint_error = over_tasks({t: joint[t] for t in over})
    means = {
        "grouped": {"mean": ours, "error": error},
        "joint": {"mean": theirs, "error": joint_error},
    }
    return {
        "seeds": list(trainer.seeds),
        "gains": means,
        "tasks": {
            task: {
                "predicted": proposed["gains"][task],
                "grouped": mean_or_none(grouped[task]),
                "joint": mean_or_none(joint[task]),
            }
            for task in tasks
        },
        "without": [t for t in tasks if t not in over],
        "held": None if ours is None or theirs is None else ours >= max(0.0, theirs),
        "sign": statistics.fmean(signs) if signs else None,
    }


def _of(trainer: Trainer, group: Sequence[str], task: str) -> list[float]:
    return [scores[task] for scores in trainer.scores(group, "held out")]


def _gains(together: Sequence[float], alone: Sequence[float]) -> list[float]:
    return [relative_gain(a, b) for a, b in zip(together, alone, strict=True)]
