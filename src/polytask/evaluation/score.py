"""Scores of tasks from references and predictions, with confidence intervals. Pure."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any, TypeAlias

import numpy as np

from polytask.evaluation.bootstrap import Floats, percentile_intervals
from polytask.evaluation.merit import first_mean, merit
from polytask.evaluation.options import EvaluationOptions
from polytask.tasks.metrics import Metric

Entry: TypeAlias = dict[str, Any]
"""The scores of one task, as JSON."""


@dataclass(frozen=True)
class Outcome:
    """Predictions and references of the labelled rows of a task.

    :param references: One per row, None left out.
    :param predictions: One per row, completed (see ``Task.pad_prediction``).
    :param probabilities: One per row, or empty where the task has none.
    :param rows: A unique key of each row, for scores over several tasks of one row.
    :param groups: The group of each row by every column that metrics form groups by.
    """

    references: Sequence[Any]
    predictions: Sequence[Any]
    probabilities: Sequence[Floats] = ()
    rows: Sequence[Hashable] = ()
    groups: Mapping[str, Sequence[Hashable]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.references)


@dataclass(frozen=True)
class Pooling:
    """One metric over the rows of several tasks together.

    TweetEval scores stance towards five targets so. https://aclanthology.org/2020.findings-emnlp.148

    :param tasks: Names of the tasks.
    :param metric: The metric.
    :param by_row: Whether the labels of all tasks for one row are one reference, so that exact match
        is the share of rows on which all are right, as intent and slots are scored together. Rows
        that lack a label of one of the tasks do not count. Else the rows of tasks are concatenated.
    """

    tasks: Sequence[str]
    metric: Metric
    by_row: bool = False


def score(
    outcomes: Mapping[str, Outcome],
    metrics: Mapping[str, Sequence[Metric]],
    pooled: Mapping[str, Pooling],
    options: EvaluationOptions,
) -> dict[str, Any]:
    """Score every task and every pooling of tasks, as JSON.

    ``average`` is the mean of the first metric of every task, the convention of TweetEval and
    GLUE. A pooling stands for all its tasks. Metrics for which lower is better count negatively.
    Perplexities, which are no shares, do not count beside tasks that have other metrics.
    ``average_over`` names what the mean is over; ``average_without`` what should be in it, but has
    no rows or no defined metric.

    :param metrics: The metrics of every task, the one that stands for it first.
    :return: ``{"tasks": {name: entry}, "pooled": {name: entry}, "average": number,
        "average_over": [name], "average_without": [name]}``, where an entry is
        ``{"rows": N, metric: {"value", "low", "high"}, ...}``. Undefined is null.
    """
    tasks = {
        task: score_outcome(outcome, metrics[task], options) for task, outcome in outcomes.items()
    }
    together = score_pooled(outcomes, pooled, options)
    covered = {task for pooling in pooled.values() for task in pooling.tasks}
    firsts = {task: own[0] for task, own in metrics.items() if own and task not in covered}
    firsts |= {name: pooling.metric for name, pooling in pooled.items()}
    return {"tasks": tasks, "pooled": together, **_average({**tasks, **together}, firsts)}


def score_pooled(
    outcomes: Mapping[str, Outcome], pooled: Mapping[str, Pooling], options: EvaluationOptions
) -> dict[str, Entry]:
    """Score every pooling, on the rows of all its tasks."""
    return {
        name: score_outcome(pooled_outcome(pooling, outcomes), [pooling.metric], options)
        for name, pooling in pooled.items()
    }


def pooled_outcome(pooling: Pooling, outcomes: Mapping[str, Outcome]) -> Outcome:
    """Return the rows that a pooling is measured on; none where a task has no answers."""
    if not all(len(outcomes[task]) for task in pooling.tasks):
        return Outcome([], [])
    together = _side_by_side if pooling.by_row else _concatenate
    return together([outcomes[task] for task in pooling.tasks])


def evidence_of(metric: Metric, outcome: Outcome) -> Any:
    """Gather what a metric needs to know about the rows."""
    groups = () if metric.group is None else outcome.groups[metric.group]
    return metric.gather_evidence(
        outcome.references, outcome.predictions, outcome.probabilities, groups
    )


def score_outcome(outcome: Outcome, metrics: Sequence[Metric], options: EvaluationOptions) -> Entry:
    """Score one task: ``{"rows": N, metric: {"value", "low", "high"}, ...}``."""
    if not len(outcome):
        return {"rows": 0, **{metric.name: _estimate() for metric in metrics}}
    statistics = [partial(metric.value, evidence_of(metric, outcome)) for metric in metrics]
    intervals = percentile_intervals(
        statistics, len(outcome), resamples=options.bootstrap, confidence=options.confidence
    )
    once_N = np.ones(len(outcome))
    estimates = {
        metric.name: _estimate(statistic(once_N), *interval)
        for metric, statistic, interval in zip(metrics, statistics, intervals, strict=True)
    }
    return {"rows": len(outcome), **estimates}


def _estimate(
    value: float = math.nan, low: float = math.nan, high: float = math.nan
) -> dict[str, float | None]:
    """Return a score with its interval, as JSON: what is undefined is null."""
    numbers = {"value": value, "low": low, "high": high}
    return {name: number if math.isfinite(number) else None for name, number in numbers.items()}


def _concatenate(outcomes: Sequence[Outcome]) -> Outcome:
    """Return the rows of several outcomes, one after the other; their groups stay apart."""
    columns = set[str].intersection(*({*outcome.groups} for outcome in outcomes))
    return Outcome(
        list(chain.from_iterable(outcome.references for outcome in outcomes)),
        list(chain.from_iterable(outcome.predictions for outcome in outcomes)),
        list(chain.from_iterable(outcome.probabilities for outcome in outcomes)),
        list(chain.from_iterable(outcome.rows for outcome in outcomes)),
        {
            column: [(at, group) for at, one in enumerate(outcomes) for group in one.groups[column]]
            for column in columns
        },
    )


def _side_by_side(outcomes: Sequence[Outcome]) -> Outcome:
    """Return the rows that all outcomes have, with a tuple of one entry per outcome."""
    places = [{row: at for at, row in enumerate(outcome.rows)} for outcome in outcomes]
    shared = [row for row in places[0] if all(row in place for place in places)]
    pairs = list(zip(outcomes, places, strict=True))
    return Outcome(
        [tuple(one.references[place[row]] for one, place in pairs) for row in shared],
        [tuple(one.predictions[place[row]] for one, place in pairs) for row in shared],
        rows=shared,
    )


def _average(entries: Mapping[str, Entry], firsts: Mapping[str, Metric]) -> dict[str, Any]:
    """Return the mean of the first metrics that are defined, higher being better, and what it is over."""
    values = {
        name: _sign(entries[name], metric) if name in entries else None
        for name, metric in firsts.items()
    }
    there = [name for name in firsts if name in entries and entries[name]["rows"]]
    shares = any(not firsts[name].beside for name in there)
    counted = [name for name, metric in firsts.items() if not (shares and metric.beside)]
    known = [name for name in counted if values[name] is not None]
    return {
        "average": first_mean(merit([values[name]] for name in known)),
        "average_over": known,
        "average_without": [name for name in counted if name not in known],
    }


def _sign(entry: Entry, metric: Metric) -> float | None:
    """Return the value of a metric, higher being better."""
    value: float | None = entry[metric.name]["value"]
    return value if value is None or metric.higher_is_better else -value
