"""What the tables of a comparison say, as plain numbers. Pure functions of ``comparison.json``."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from polytask.evaluation.significance import seeds_interval

Record = Mapping[str, Any]

FAMILIES = {
    "accuracy": ("accuracy",),
    "precision": ("macro_precision", "span_precision", "micro_precision"),
    "recall": ("macro_recall", "span_recall", "micro_recall"),
    "F1": ("macro_f1", "span_f1", "micro_f1"),
}
"""The columns of the summary: each takes the first of these metrics that a task has."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    :param half: Half of Student's 95 % interval of the mean over seeds, on the rows as they are;
        None if there is one seed only.
    """

    mean: float
    half: float | None

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Estimate | None:
        """The mean of the values there are; None if there are none."""
        known = [value for value in values if value is not None]
        if not known:
            return None
        return cls(*seeds_interval(known)) if len(known) > 1 else cls(known[0], None)


def results_of(record: Record, strategy: str) -> list[Record]:
    """The results of one strategy, one per seed."""
    return [result for result in record["results"] if result["strategy"] == strategy]


def standing(record: Record) -> dict[str, Record]:
    """What counts in means and tables: each pooling of tasks in place of them, all other tasks."""
    covered = {task for entry in record["pooled"].values() for task in entry["tasks"]}
    tasks = {task: entry for task, entry in record["tasks"].items() if task not in covered}
    return {**tasks, **record["pooled"]}


def task_estimate(record: Record, strategy: str, task: str, metric: str) -> Estimate | None:
    """One metric of one task, or pooling, over the seeds of a strategy."""
    return Estimate.of(_value(result, task, metric) for result in results_of(record, strategy))


def family_estimate(record: Record, strategy: str, family: str) -> Estimate | None:
    """The mean of a kind of metric over the tasks that have it, over seeds."""
    means = []
    for result in results_of(record, strategy):
        found = [_first(result, task, FAMILIES[family]) for task in standing(record)]
        known = [value for value in found if value is not None]
        means.append(statistics.fmean(known) if known else None)
    return Estimate.of(means)


def main_estimate(record: Record, strategy: str) -> Estimate | None:
    """The mean over tasks of the metric that stands for each, over seeds.

    Metrics of which lower is better count negatively, as in the average of a run's scores.
    """
    return Estimate.of(
        statistics.fmean(values) if (values := _mains(record, result)) else None
        for result in results_of(record, strategy)
    )


def gain(record: Record, strategy: str, baseline: str = "single") -> float | None:
    """Δm in percent: the mean relative gain over the baseline; positive is better.

    Maninis, Radosavovic and Kokkinos, "Attentive Single-Tasking of Multiple Tasks", CVPR 2019,
    section 4. https://arxiv.org/abs/1904.08918
    """
    gains = [gain_of_task(record, strategy, task, baseline) for task in standing(record)]
    known = [value for value in gains if value is not None]
    return statistics.fmean(known) if known else None


def gain_of_task(record: Record, strategy: str, task: str, baseline: str) -> float | None:
    """One term of Δm, in percent."""
    metric, sign = _main_metric(record, task)
    ours = task_estimate(record, strategy, task, metric)
    theirs = task_estimate(record, baseline, task, metric)
    if ours is None or theirs is None or theirs.mean == 0:
        return None
    return 100 * sign * (ours.mean - theirs.mean) / abs(theirs.mean)


def worst_task(record: Record, strategy: str, baseline: str = "single") -> tuple[str, float] | None:
    """The task with the lowest gain over the baseline, and that gain in percent."""
    gains = {task: gain_of_task(record, strategy, task, baseline) for task in standing(record)}
    known = {task: value for task, value in gains.items() if value is not None}
    return min(known.items(), key=lambda item: item[1]) if known else None


def cost(record: Record, strategy: str, name: str) -> float | None:
    """Parameters, seconds or tokens of a strategy, a mean over seeds."""
    estimate = Estimate.of(result[name] for result in results_of(record, strategy))
    return None if estimate is None else estimate.mean


def best(record: Record, task: str) -> str | None:
    """The strategy with the best mean of the metric that stands for a task."""
    metric, sign = _main_metric(record, task)
    found = {s: task_estimate(record, s, task, metric) for s in record["strategies"]}
    known = {s: sign * e.mean for s, e in found.items() if e is not None}
    return max(known, key=lambda strategy: known[strategy]) if known else None


def _main_metric(record: Record, task: str) -> tuple[str, int]:
    """The metric that stands for a task, and 1 if higher is better, else -1."""
    entry = standing(record)[task]
    return entry["select"], 1 if entry["higher_is_better"][entry["select"]] else -1


def _value(result: Record, task: str, metric: str) -> float | None:
    entry = result["scores"].get(task, {}).get(metric)
    return None if entry is None else entry["value"]


def _first(result: Record, task: str, metrics: Sequence[str]) -> float | None:
    found = (_value(result, task, metric) for metric in metrics)
    return next((value for value in found if value is not None), None)


def _mains(record: Record, result: Record) -> list[float]:
    found = []
    for task in standing(record):
        metric, sign = _main_metric(record, task)
        value = _value(result, task, metric)
        if value is not None:
            found.append(sign * value)
    return found
