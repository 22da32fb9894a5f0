"""Results of a strategy and the baseline, paired by seed. Pure functions of arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from polytask.analysis.replicates import Measured, Run
from polytask.evaluation.bootstrap import Floats
from polytask.evaluation.paired_tests import bootstrap_p, delong, mcnemar_of_rows
from polytask.evaluation.significance import Paired, compare_paired
from polytask.tasks.metrics.agreement import Agreement
from polytask.tasks.metrics.auc import RankedScores


@dataclass(frozen=True)
class Pair:
    """A strategy and the baseline with the same seed."""

    seed: int
    ours: Measured
    theirs: Measured

    @property
    def difference(self) -> float:
        """The value of the strategy minus the value of the baseline."""
        return self.ours.value - self.theirs.value

    @property
    def replicates_R(self) -> Floats:
        """The difference in every resample."""
        return self.ours.replicates_R - self.theirs.replicates_R

    @property
    def test(self) -> str:
        """The test of two models on the same rows that fits the metric."""
        ours, theirs = self.ours.evidence, self.theirs.evidence
        if _rows_right(ours) is not None and _rows_right(theirs) is not None:
            return "mcnemar"
        if _one_curve(ours) is not None and _one_curve(theirs) is not None:
            return "delong"
        return "bootstrap"

    @property
    def p(self) -> float:
        """The p value of the difference between the two *trained* models."""
        return _TESTS[self.test](self)


@dataclass(frozen=True)
class SeedPairs:
    """All pairs of one task, at least one."""

    rows: int
    pairs: Sequence[Pair]

    @classmethod
    def of(
        cls, results: Mapping[Run, Measured], strategy: str, baseline: str, rows: int
    ) -> SeedPairs | None:
        """Return the pairs for which the metric is defined; None if there are none.

        A strategy without randomness has one result for all seeds.
        """
        ours, theirs = (_by_seed(results, name) for name in (strategy, baseline))
        if len(ours) == 1:
            ours = dict.fromkeys(theirs, next(iter(ours.values())))
        pairs = [Pair(seed, own, theirs[seed]) for seed, own in ours.items() if seed in theirs]
        return cls(rows, pairs) if pairs else None

    @cached_property
    def paired(self) -> Paired:
        """The mean difference over seeds, with its standard errors."""
        differences_S = np.array([pair.difference for pair in self.pairs])
        replicates_RS = np.stack([pair.replicates_R for pair in self.pairs], axis=1)
        return compare_paired(differences_S, replicates_RS, self.rows)

    @property
    def p(self) -> float:
        """The p value over seeds; for a single seed, of the test within it."""
        return self.pairs[0].p if len(self.pairs) == 1 else self.paired.p

    @property
    def baseline(self) -> float:
        """The mean of the baseline over seeds."""
        return float(np.mean([pair.theirs.value for pair in self.pairs]))


@dataclass(frozen=True)
class SignedPairs:
    """The pairs of a task, and 1 where more is better, else -1."""

    sign: int
    pairs: SeedPairs

    @property
    def gain(self) -> float | None:
        """The mean difference in percent of the baseline, positive is better; None if that is 0."""
        baseline = abs(self.pairs.baseline)
        return 100 * self.sign * self.pairs.paired.difference / baseline if baseline else None


def comparable(tasks: Mapping[str, SignedPairs]) -> dict[str, SignedPairs]:
    """Return the tasks that Δm is over: their gain is known, and for as many seeds as any task's."""
    known = {name: each for name, each in tasks.items() if each.gain is not None}
    most = max((len(each.pairs.pairs) for each in known.values()), default=0)
    return {name: each for name, each in known.items() if len(each.pairs.pairs) == most}


def mean_gain(tasks: Sequence[SignedPairs]) -> Paired | None:
    """Return Δm in percent: the mean over tasks of the relative gain over the baseline.

    Maninis, Radosavovic and Kokkinos, "Attentive Single-Tasking of Multiple Tasks", CVPR 2019,
    section 4 (https://arxiv.org/abs/1904.08918): gains count with the sign turned where less is
    better. The baseline of a task is its mean over seeds; each resample has its own
    baseline. The degrees of freedom come from the smallest task, which is conservative.
    """
    known = [each for each in tasks if each.gain is not None]
    if not known:
        return None
    seeds = set.intersection(*({pair.seed for pair in each.pairs.pairs} for each in known))
    if not seeds:
        return None
    gains_TS, replicates_TRS = zip(*(_relative(each, seeds) for each in known), strict=True)
    return compare_paired(
        np.mean(gains_TS, axis=0),
        np.mean(replicates_TRS, axis=0),
        min(each.pairs.rows for each in known),
    )


def _relative(task: SignedPairs, seeds: set[int]) -> tuple[Floats, Floats]:
    """Return the gains of each seed in percent, gains_S and replicates_RS."""
    pairs = [pair for pair in task.pairs.pairs if pair.seed in seeds]
    differences_S = np.array([pair.difference for pair in pairs])
    replicates_RS = np.stack([pair.replicates_R for pair in pairs], axis=1)
    # The baseline is random too: dividing by its mean alone would make intervals too narrow.
    baseline_R = np.abs(np.mean([pair.theirs.replicates_R for pair in pairs], axis=0))
    baseline_R[baseline_R == 0] = np.nan
    factor = 100 * task.sign
    return (
        factor * differences_S / abs(task.pairs.baseline),
        factor * replicates_RS / baseline_R[:, None],
    )


def _by_seed(results: Mapping[Run, Measured], strategy: str) -> dict[int, Measured]:
    return {
        seed: found
        for (name, seed), found in results.items()
        if name == strategy and not math.isnan(found.value)
    }


def _rows_right(evidence: Any) -> Floats | None:
    """Return whether each row is right; None if a row can have several answers."""
    if isinstance(evidence, Agreement) and bool((evidence.total_N == 1).all()):
        return evidence.right_N
    return None


def _one_curve(evidence: Any) -> RankedScores | None:
    """Return the scores of the rows; None if there is not exactly one curve."""
    if isinstance(evidence, list) and len(evidence) == 1 and isinstance(evidence[0], RankedScores):
        return evidence[0]
    return None


def _mcnemar(pair: Pair) -> float:
    return mcnemar_of_rows(pair.ours.evidence.right_N == 1, pair.theirs.evidence.right_N == 1)


def _delong(pair: Pair) -> float:
    rankings = [pair.ours.evidence[0], pair.theirs.evidence[0]]
    levels_2N = np.empty((2, len(rankings[0].order_N)))
    positive_N = np.empty(levels_2N.shape[1], dtype=np.bool_)
    for levels_N, ranking in zip(levels_2N, rankings, strict=True):
        levels_N[ranking.order_N] = ranking.level_N
        positive_N[ranking.order_N] = ranking.positive_N
    return delong(positive_N, levels_2N).p


def _bootstrap(pair: Pair) -> float:
    return 1.0 if pair.difference == 0 else bootstrap_p(pair.replicates_R)


_TESTS = {"mcnemar": _mcnemar, "delong": _delong, "bootstrap": _bootstrap}
