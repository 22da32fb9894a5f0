"""The metrics of all results of a comparison, on the same resamples of the rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from polytask.evaluation.bootstrap import Floats, Row, draw_shared_weights
from polytask.evaluation.score import Outcome, Pooling, evidence_of, pooled_outcome
from polytask.tasks import Metric

Run: TypeAlias = tuple[str, int]
"""A strategy and a seed."""


@dataclass(frozen=True)
class Measured:
    """A metric of what one result has answered for one task.

    :param value: On all rows; nan where it is undefined.
    :param replicates_R: In R resamples of the rows, the same for all results.
    :param evidence: The statistics that the metric has gathered about the rows.
    """

    value: float
    replicates_R: Floats
    evidence: Any


@dataclass(frozen=True)
class MeasuredTask:
    """One task, or several that are scored together.

    :param rows: How many rows have a label.
    :param sign: 1 if more of the metric that stands for it is better, else -1.
    :param metrics: By name, the one that stands for the task first, each by result.
    """

    rows: int
    sign: int
    metrics: Mapping[str, Mapping[Run, Measured]]

    @property
    def main(self) -> Mapping[Run, Measured]:
        """The values of the metric that stands for the task, by result."""
        return next(iter(self.metrics.values()))


def measure(
    results: Iterable[tuple[Run, Mapping[str, Outcome]]],
    metrics: Mapping[str, Sequence[Metric]],
    resamples: int,
) -> dict[str, MeasuredTask]:
    """Measure every task of every result; tasks without rows are left out.

    Outcomes are taken one by one, and only what metrics gather about them is kept.

    :param results: Rows of a task are the same in all of them, in the same order.
    """
    rows: dict[str, Sequence[Row]] = {}
    evidence: dict[tuple[str, str], dict[Run, Any]] = {}
    for run, outcomes in results:
        for task, outcome in outcomes.items():
            if not len(outcome) or task not in metrics:
                continue
            if outcome.rows or task not in rows:
                rows[task] = _rows(task, outcome)
            for metric in metrics[task]:
                found = evidence_of(metric, outcome)
                evidence.setdefault((task, metric.name), {})[run] = found
    values = _replicate(evidence, metrics, rows, resamples)
    return {
        task: MeasuredTask(
            len(rows[task]),
            1 if own[0].higher_is_better else -1,
            {m.name: values[task, m.name] for m in own},
        )
        for task, own in metrics.items()
        if task in rows
    }


def with_poolings(
    outcomes: Mapping[str, Outcome], pooled: Mapping[str, Pooling]
) -> dict[str, Outcome]:
    """Replace the tasks of each pooling by the pooling; keep all other tasks."""
    covered = {task for pooling in pooled.values() for task in pooling.tasks}
    alone = {task: outcome for task, outcome in outcomes.items() if task not in covered}
    return {**alone, **{name: pooled_outcome(each, outcomes) for name, each in pooled.items()}}


def _rows(task: str, outcome: Outcome) -> list[Row]:
    """Return keys that identify rows; rows without a known source get keys of their task."""
    known: list[Row] = [row for row in outcome.rows if isinstance(row, tuple)]
    return known or [(task, at) for at in range(len(outcome))]


def _replicate(
    evidence: Mapping[tuple[str, str], Mapping[Run, Any]],
    metrics: Mapping[str, Sequence[Metric]],
    rows: Mapping[str, Sequence[Row]],
    resamples: int,
) -> dict[tuple[str, str], dict[Run, Measured]]:
    by_name = {(task, metric.name): metric for task, own in metrics.items() for metric in own}
    replicates = {
        key: {run: np.full(resamples, np.nan) for run in runs} for key, runs in evidence.items()
    }
    for number, weights in enumerate(draw_shared_weights(rows, resamples)):
        for (task, name), runs in evidence.items():
            if weights[task].any():
                for run, found in runs.items():
                    value = by_name[task, name].value(found, weights[task])
                    replicates[task, name][run][number] = value
    return {
        (task, name): {
            run: Measured(
                by_name[task, name].value(found, np.ones(len(rows[task]))),
                replicates[task, name][run],
                found,
            )
            for run, found in runs.items()
        }
        for (task, name), runs in evidence.items()
    }
