"""The numbers in the tables of a comparison: pure functions of ``comparison.json``."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from polytask.evaluation.coverage import coverage, select_counted, value_of
from polytask.evaluation.significance import seeds_interval

Record = Mapping[str, Any]

BASELINE = "single"
"""The strategy that all others are compared with."""

FAMILIES = {
    "accuracy": ("accuracy",),
    "precision": ("macro_precision", "span_precision", "micro_precision"),
    "recall": ("macro_recall", "span_recall", "micro_recall"),
    "F1": ("macro_f1", "span_f1", "micro_f1"),
}
"""Columns of the summary; each shows the first of these metrics that a task has."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    :param half: Half the width of Student's 95 % interval of the mean over seeds; None for one seed.
    :param without: Tasks that the mean lacks because they are undefined here, but not elsewhere.
    """

    mean: float
    half: float | None
    without: tuple[str, ...] = ()

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Estimate | None:
        """Return the mean of the known values; None if all are None."""
        known = [value for value in values if value is not None]
        if not known:
            return None
        return cls(*seeds_interval(known)) if len(known) > 1 else cls(known[0], None)


def results_of(record: Record, strategy: str) -> list[Record]:
    """Return the results of a strategy, one per seed."""
    return [result for result in record["results"] if result["strategy"] == strategy]


def task_estimate(record: Record, strategy: str, task: str, metric: str) -> Estimate | None:
    """Return the mean of a metric of a task or pool, over the seeds for which it is defined."""
    return Estimate.of(values_of(record, strategy, task, metric))


def values_of(record: Record, strategy: str, task: str, metric: str) -> list[float | None]:
    """Return a metric of a task or pool for every result of a strategy."""
    results = results_of(record, strategy)
    return [value_of(result["scores"].get(task, {}), metric) for result in results]


def family_estimate(record: Record, strategy: str, family: str) -> Estimate | None:
    """Return the mean of a family of metrics over the tasks that have one, over seeds."""
    found = {
        task: next((name for name in FAMILIES[family] if name in entry["metrics"]), None)
        for task, entry in select_counted(record).items()
    }
    return _mean(record, strategy, {task: name for task, name in found.items() if name})


def main_estimate(record: Record, strategy: str) -> Estimate | None:
    """Return the mean over tasks of their main metrics, over seeds.

    Metrics for which lower is better count negatively, as in the average of a run's scores.
    """
    metrics = {task: entry["select"] for task, entry in select_counted(record).items()}
    return _mean(record, strategy, metrics)


def _mean(record: Record, strategy: str, metrics: Mapping[str, str]) -> Estimate | None:
    """Return the mean over the tasks whose metric is defined for all seeds."""
    # leaving a task out for some seeds only would mix its difficulty into the spread over seeds
    signs = {task: _sign(record, task, metric) for task, metric in metrics.items()}
    rows = {task: values_of(record, strategy, task, metric) for task, metric in metrics.items()}
    known = {task: row for task, row in rows.items() if row and None not in row}
    if not known:
        return None
    signed = ([(value or 0.0) * signs[task] for value in row] for task, row in known.items())
    found = Estimate.of(map(statistics.fmean, zip(*signed, strict=True)))
    others = {
        task
        for task in metrics.keys() - known.keys()
        for other in record["strategies"]
        if any(value is not None for value in values_of(record, other, task, metrics[task]))
    }
    return found and replace(found, without=tuple(task for task in metrics if task in others))


def gain(record: Record, strategy: str) -> float | None:
    """Return Δm in percent; see ``gain_estimate``."""
    found = gain_estimate(record, strategy)
    return None if found is None else found.mean


def gain_estimate(record: Record, strategy: str) -> Estimate | None:
    """Return Δm in percent: the mean relative gain over the baseline; positive is better.

    Maninis, Radosavovic and Kokkinos, "Attentive Single-Tasking of Multiple Tasks", CVPR 2019,
    section 4. https://arxiv.org/abs/1904.08918 The mean is over tasks that both have for all seeds.
    """
    known = _gains_by_task(record, strategy)
    if not known:
        return None
    without = tuple(task for task in coverage(record)["over"] if task not in known)
    return Estimate(statistics.fmean(known.values()), None, without)


def _gains_by_task(record: Record, strategy: str) -> dict[str, float]:
    """Return the terms of Δm in percent, for the tasks in which both are defined for all seeds."""
    gains = {}
    for task in select_counted(record):
        metric, sign = _main_metric(record, task)
        both = [values_of(record, name, task, metric) for name in (strategy, BASELINE)]
        ours, theirs = (None if None in values else Estimate.of(values) for values in both)
        if ours is not None and theirs is not None and theirs.mean != 0:
            gains[task] = 100 * sign * (ours.mean - theirs.mean) / abs(theirs.mean)
    return gains


def worst_task(record: Record, strategy: str) -> tuple[str, float] | None:
    """Return the task with the lowest gain over the baseline, and the gain in percent."""
    known = _gains_by_task(record, strategy)
    return min(known.items(), key=lambda item: item[1]) if known else None


def cost(record: Record, strategy: str, name: str) -> float | None:
    """Return the parameters, seconds or tokens of a strategy, as a mean over seeds."""
    estimate = Estimate.of(result[name] for result in results_of(record, strategy))
    return None if estimate is None else estimate.mean


def best(record: Record, task: str) -> str | None:
    """Return the strategy with the best mean of the main metric of a task."""
    metric, sign = _main_metric(record, task)
    found = {s: task_estimate(record, s, task, metric) for s in record["strategies"]}
    known = {s: sign * e.mean for s, e in found.items() if e is not None}
    return max(known, key=lambda strategy: known[strategy]) if known else None


def _main_metric(record: Record, task: str) -> tuple[str, int]:
    """Return the main metric of a task, and 1 if higher is better, else -1."""
    metric = select_counted(record)[task]["select"]
    return metric, _sign(record, task, metric)


def _sign(record: Record, task: str, metric: str) -> int:
    return 1 if select_counted(record)[task]["higher_is_better"][metric] else -1
