"""The numbers in the tables of a comparison. Pure functions of ``comparison.json``."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from polytask.evaluation.coverage import coverage, standing, value_of
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
    :param without: Tasks that the mean should be over, but are undefined here and not elsewhere.
    """

    mean: float
    half: float | None
    without: tuple[str, ...] = ()

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


def task_estimate(record: Record, strategy: str, task: str, metric: str) -> Estimate | None:
    """One metric of one task, or pooling, over the seeds of a strategy for which it is defined."""
    return Estimate.of(values_of(record, strategy, task, metric))


def values_of(record: Record, strategy: str, task: str, metric: str) -> list[float | None]:
    """One metric of one task, or pooling, for every result of a strategy."""
    results = results_of(record, strategy)
    return [value_of(result["scores"].get(task, {}), metric) for result in results]


def family_estimate(record: Record, strategy: str, family: str) -> Estimate | None:
    """The mean of a kind of metric over the tasks that have it, over seeds."""
    found = {
        task: next((name for name in FAMILIES[family] if name in entry["metrics"]), None)
        for task, entry in standing(record).items()
    }
    return _mean(record, strategy, {task: name for task, name in found.items() if name})


def main_estimate(record: Record, strategy: str) -> Estimate | None:
    """The mean over tasks of the metric that stands for each, over seeds.

    Metrics count negatively if lower is better, as in the average of a run's scores.
    """
    metrics = {task: entry["select"] for task, entry in standing(record).items()}
    return _mean(record, strategy, metrics)


def _mean(record: Record, strategy: str, metrics: Mapping[str, str]) -> Estimate | None:
    """The mean over the tasks whose metric is defined for all seeds, so that all have the same."""
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


def gain(record: Record, strategy: str, baseline: str = "single") -> float | None:
    """Δm in percent, see ``gain_estimate``."""
    found = gain_estimate(record, strategy, baseline)
    return None if found is None else found.mean


def gain_estimate(record: Record, strategy: str, baseline: str = "single") -> Estimate | None:
    """Δm in percent: the mean relative gain over the baseline; positive is better.

    Maninis, Radosavovic and Kokkinos, "Attentive Single-Tasking of Multiple Tasks", CVPR 2019,
    section 4. https://arxiv.org/abs/1904.08918 It is over the tasks that both have for all seeds.
    """
    gains = {task: gain_of_task(record, strategy, task, baseline) for task in standing(record)}
    known = {task: value for task, value in gains.items() if value is not None}
    if not known:
        return None
    without = tuple(task for task in coverage(record)["over"] if task not in known)
    return Estimate(statistics.fmean(known.values()), None, without)


def gain_of_task(record: Record, strategy: str, task: str, baseline: str) -> float | None:
    """One term of Δm, in percent."""
    metric, sign = _main_metric(record, task)
    both = [Estimate.of(_always(record, name, task, metric)) for name in (strategy, baseline)]
    ours, theirs = both
    if ours is None or theirs is None or theirs.mean == 0:
        return None
    return 100 * sign * (ours.mean - theirs.mean) / abs(theirs.mean)


def _always(record: Record, strategy: str, task: str, metric: str) -> list[float | None]:
    """The values of a metric that is defined for every seed, or none of them."""
    values = values_of(record, strategy, task, metric)
    return [] if None in values else values


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
    metric = standing(record)[task]["select"]
    return metric, _sign(record, task, metric)


def _sign(record: Record, task: str, metric: str) -> int:
    return 1 if standing(record)[task]["higher_is_better"][metric] else -1
