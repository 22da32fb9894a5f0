"""Over which tasks the means of a comparison are, and why others are missing. Pure functions of JSON."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

Record = Mapping[str, Any]

NO_ROWS, UNDEFINED, NO_GAIN = "no_rows", "undefined", "no_gain"
"""Why a task is missing: no labelled rows, an undefined metric, no gain relative to single-task models."""


def select_counted(record: Record) -> dict[str, Record]:
    """Return what counts in means and tables: poolings in place of their tasks, all other tasks."""
    covered = {task for entry in record["pooled"].values() for task in entry["tasks"]}
    tasks = {task: entry for task, entry in record["tasks"].items() if task not in covered}
    return {**tasks, **record["pooled"]}


def coverage(record: Record) -> dict[str, Any]:
    """Return the tasks that means are over, and those that they are without.

    :return: ``over``: the tasks whose first metric is defined in some result; ``without``: each
        other task and ``no_rows`` or ``undefined``.
    """
    over, without = [], {}
    for task, entry in select_counted(record).items():
        found = [result["scores"].get(task, {}) for result in record["results"]]
        if any(value_of(scores, entry["select"]) is not None for scores in found):
            over.append(task)
        else:
            without[task] = UNDEFINED if any(scores.get("rows") for scores in found) else NO_ROWS
    return {"over": over, "without": without}


def find_missing_gains(record: Record, judged: Collection[str]) -> dict[str, str]:
    """Return the tasks that Δm is without, and why.

    :param judged: The tasks that it is over.
    """
    found = coverage(record)
    unknown = {task: NO_GAIN for task in found["over"] if task not in judged}
    return {**unknown, **found["without"]}


def value_of(scores: Record, metric: str) -> float | None:
    """Return one metric of a task; None if it is undefined or was not measured."""
    value: float | None = scores.get(metric, {}).get("value")
    return value
