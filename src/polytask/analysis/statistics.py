"""Whether the strategies of a comparison differ from single-task models, and by how much.

Within a seed two trained models are compared on the same rows, by the test that fits the metric:
McNemar's for shares of right rows, DeLong's for the area under a curve, else a paired bootstrap
(``evaluation.paired_tests``). Over seeds differences are combined instead of p values, because all
seeds are scored on the same rows: see ``evaluation.significance``, with its papers. With one seed
the p value comes from the test within it, and holds for these two models alone.

Several tests find something by chance: p values of all tasks and strategies are corrected together
by Holm's method; the p values of Δm form a second family (``evaluation.significance.holm``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy  # its parts are imported when they are used

from polytask.analysis.pairs import SeedPairs, SignedPairs, comparable, mean_gain
from polytask.analysis.replicates import MeasuredTask
from polytask.evaluation.significance import Paired, holm

BASELINE = "single"
LEVEL, POWER, CONFIDENCE = 0.05, 0.8, 0.95
Entry = dict[str, Any]


def statistics(measured: Mapping[str, MeasuredTask], strategies: Sequence[str]) -> Entry | None:
    """Test every strategy against the baseline; None where there is no baseline to test against.

    Differences are the strategy minus the baseline in the units of the metric. For errors, less
    than 0 is better. Undefined values are null. Keys:

    * ``baseline``, ``level`` (of tests), ``confidence`` (of intervals), ``power`` (of detectable
      differences), ``tests`` (in the family of tasks and strategies), ``rows`` (by task).
    * ``differences``: by strategy and task, ``metric``, ``test`` (within seeds: ``mcnemar``,
      ``delong`` or ``bootstrap``), ``difference`` (mean over seeds) with its interval ``low`` and
      ``high``, ``p``, ``p_holm``, ``rows_error`` and ``seeds_error`` (the parts of its standard
      error by the choice of rows and of seeds), ``detectable`` (the smallest difference that is
      found with the power, by the test that Holm's method is strictest with), ``rows``, ``seeds``
      (``seed``, ``difference`` and ``p`` of each), ``others`` (of each other metric ``difference``,
      ``low`` and ``high``; not tested).
    * ``gains``: by strategy, Δm in percent over the tasks that it is known of, positive is better:
      ``difference``, ``low``, ``high``, ``p``, ``p_holm``, ``rows_error``, ``seeds_error`` and
      ``detectable`` as above, ``at_least`` (the lower end of an interval that holds for all
      strategies together, Bonferroni), ``tasks`` (that it is over, whose gain is known for all
      seeds), ``rows`` (of the smallest task), ``seeds`` (how many).
    * ``ranks``: by strategy, baseline included, the mean over tasks of its rank, 1 being the best
      (Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 2006, section
      3.2.2, https://jmlr.org/papers/v7/demsar06a.html), of the tasks that all strategies answer:
      ``ranked``.
    * ``worst``: by strategy, the ``task`` of the lowest relative gain, and that ``gain`` in percent.
    * ``hurt``, ``helped``: by strategy, the tasks that are worse and better: ``found`` are significant
      after correction, ``seen`` are all whose mean moved.

    :param measured: By task; see ``replicates.measure``.
    """
    others = [name for name in strategies if name != BASELINE]
    pairs = {name: own for name in others if (own := _pairs(measured, name))}
    if not pairs:
        return None
    # Power is planned for the smallest p value, which Holm compares with level / tests.
    tests = sum(map(len, pairs.values()))
    differences = _differences(measured, pairs, LEVEL / tests)
    judged = {name: comparable(own) for name, own in pairs.items()}
    gains = {name: gain for name, own in judged.items() if (gain := mean_gain([*own.values()]))}
    return {
        "baseline": BASELINE,
        "level": LEVEL,
        "confidence": CONFIDENCE,
        "power": POWER,
        "tests": tests,
        "rows": {task: found.rows for task, found in measured.items()},
        "differences": differences,
        "gains": _gains(gains, judged),
        "ranks": mean_ranks(measured, strategies),
        "ranked": [*_collect_means(measured, strategies)],
        "worst": {name: _worst(own) for name, own in pairs.items()},
        "hurt": {name: _find_moved(own, differences[name], -1) for name, own in pairs.items()},
        "helped": {name: _find_moved(own, differences[name], 1) for name, own in pairs.items()},
    }


def mean_ranks(measured: Mapping[str, MeasuredTask], strategies: Sequence[str]) -> dict[str, float]:
    """Return the mean rank of every strategy, 1 being the best; empty if no task is answered by all."""
    rows = _collect_means(measured, strategies).values()
    if not rows:
        return {}
    # Ranks are ascending and more is better, so means are negated; ties share the mean rank.
    ranks_S = np.mean([scipy.stats.rankdata(-np.array(means)) for means in rows], axis=0)
    return dict(zip(strategies, ranks_S.tolist(), strict=True))


def _collect_means(
    measured: Mapping[str, MeasuredTask], strategies: Sequence[str]
) -> dict[str, list[float]]:
    """Return the means of all strategies for each task that all of them answer, more being better."""
    means = {
        name: [_mean_merit(task, each) for each in strategies] for name, task in measured.items()
    }
    return {name: values for name, values in means.items() if not math.isnan(sum(values))}


def _mean_merit(task: MeasuredTask, strategy: str) -> float:
    """Return the mean over seeds, more being better; nan if it is not defined for each."""
    values = [found.value for (name, _), found in task.main.items() if name == strategy]
    return task.sign * float(np.mean(values)) if values else math.nan


def _pairs(measured: Mapping[str, MeasuredTask], strategy: str) -> dict[str, SignedPairs]:
    """Return the pairs of a strategy and the baseline by task, of the metric that stands for it."""
    return {
        name: SignedPairs(task.sign, own)
        for name, task in measured.items()
        if (own := SeedPairs.of(task.main, strategy, BASELINE, task.rows)) is not None
    }


def _differences(
    measured: Mapping[str, MeasuredTask],
    pairs: Mapping[str, Mapping[str, SignedPairs]],
    strictest: float,
) -> dict[str, dict[str, Entry]]:
    """Return an entry per strategy and task; see ``statistics``.

    :param strictest: The level of the smallest p value.
    """
    # One family over all strategies and tasks: a reader looks at all of them at once.
    adjusted = holm({(s, t): each.pairs.p for s, own in pairs.items() for t, each in own.items()})
    return {
        strategy: {
            task: {
                "metric": next(iter(measured[task].metrics)),
                "test": each.pairs.pairs[0].test,
                **_describe_test(
                    each.pairs.paired, each.pairs.p, adjusted[strategy, task], strictest
                ),
                "rows": each.pairs.rows,
                "seeds": [
                    {
                        "seed": pair.seed,
                        "difference": pair.difference,
                        "p": _none_if_infinite(pair.p),
                    }
                    for pair in each.pairs.pairs
                ],
                "others": _others(measured[task], strategy),
            }
            for task, each in own.items()
        }
        for strategy, own in pairs.items()
    }


def _others(task: MeasuredTask, strategy: str) -> dict[str, Entry]:
    """Return the metrics besides the one that stands for a task; they are not tested."""
    _, *others = task.metrics.items()
    found = {name: SeedPairs.of(own, strategy, BASELINE, task.rows) for name, own in others}
    return {
        name: {"difference": pairs.paired.difference, **_interval(pairs.paired, CONFIDENCE)}
        for name, pairs in found.items()
        if pairs is not None
    }


def _gains(
    gains: Mapping[str, Paired], judged: Mapping[str, Mapping[str, SignedPairs]]
) -> dict[str, Entry]:
    """Return an entry per strategy; see ``statistics``."""
    adjusted = holm({name: gain.p for name, gain in gains.items()})
    # Bonferroni: the bounds ``at_least`` hold for all strategies at the same time.
    level = LEVEL / max(1, len(gains))
    return {
        name: {
            **_describe_test(gain, gain.p, adjusted[name], level),
            "at_least": _interval(gain, 1 - level)["low"],
            "tasks": [*judged[name]],
            "rows": gain.rows,
            "seeds": gain.seeds,
        }
        for name, gain in gains.items()
    }


def _describe_test(found: Paired, p: float, p_holm: float, level: float) -> Entry:
    return {
        "difference": found.difference,
        **_interval(found, CONFIDENCE),
        "p": _none_if_infinite(p),
        "p_holm": _none_if_infinite(p_holm),
        "rows_error": _none_if_infinite(found.rows_variance**0.5),
        "seeds_error": _none_if_infinite(found.seeds_variance**0.5),
        "detectable": _none_if_infinite(found.detectable(level, POWER)),
    }


def _interval(found: Paired, confidence: float) -> Entry:
    low, high = found.interval(confidence)
    return {"low": _none_if_infinite(low), "high": _none_if_infinite(high)}


def _worst(pairs: Mapping[str, SignedPairs]) -> Entry | None:
    gains = {task: each.gain for task, each in pairs.items()}
    known = {task: gain for task, gain in gains.items() if gain is not None}
    if not known:
        return None
    task = min(known, key=lambda name: known[name])
    return {"task": task, "gain": known[task]}


def _find_moved(
    pairs: Mapping[str, SignedPairs], tested: Mapping[str, Entry], direction: int
) -> dict[str, list[str]]:
    """Return the tasks that have become better, or worse if the direction is -1."""
    seen = [
        task
        for task, each in pairs.items()
        if direction * each.sign * tested[task]["difference"] > 0
    ]
    # Undefined p values are null and never count as significant.
    found = [task for task in seen if (p := tested[task]["p_holm"]) is not None and p < LEVEL]
    return {"found": found, "seen": seen}


def _none_if_infinite(value: float) -> float | None:
    return value if math.isfinite(value) else None
