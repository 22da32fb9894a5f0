"""Whether two ways of training differ, from several seeds scored on the same rows.

The question is not whether some trained models differ, but whether the *way of training* is better
on rows like these. Two things are then drawn by chance: the seeds, and the test rows. They are
crossed, as every seed is scored on the same rows. So p values of single seeds cannot be combined by
Fisher's or Stouffer's formula, which take them for independent: the rows they have in common would
be counted once per seed. Nor is a t test over seeds enough, which takes the rows for the whole
world. Here the variance of the mean difference is the sum of two:

- the variance of the mean over seeds when rows are resampled, for all seeds and both models
  together;
- the variance over seeds on the given rows, divided by the number of seeds.

Chance that is of a row *and* a seed is in both, so the sum is too large rather than too small. The
same holds for the bootstrap of both rows and seeds, and no bootstrap of crossed draws is exact: Owen
and Eckles, "Bootstrapping data arrays of arbitrary order", Annals of Applied Statistics 2012
(https://doi.org/10.1214/12-AOAS547). In place of resampling three or five seeds, Student's t is used with the degrees of freedom of a sum of variances:
Satterthwaite, Biometrics Bulletin 1946 (https://doi.org/10.2307/3002019). Both draws matter in
practice: Bouthillier et al., "Accounting for Variance in Machine Learning Benchmarks", MLSys 2021
(https://arxiv.org/abs/2103.03098).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import scipy  # its parts are imported when they are used

from polytask.evaluation.bootstrap import Floats, Interval

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Paired:
    """A mean difference of pairs of models, and how sure it is.

    :param difference: The mean over seeds.
    :param rows_variance: Its variance by the choice of rows.
    :param seeds_variance: Its variance by the choice of seeds; 0 where there is one seed, which
        says nothing about it.
    :param rows: Number of rows, N.
    :param seeds: Number of pairs, S.
    """

    difference: float
    rows_variance: float
    seeds_variance: float
    rows: int
    seeds: int

    @property
    def error(self) -> float:
        """Standard error of the difference."""
        return math.sqrt(self.rows_variance + self.seeds_variance)

    @property
    def freedom(self) -> float:
        """Degrees of freedom by Satterthwaite's formula; infinite without any variance."""
        parts = (self.rows_variance, self.rows - 1), (self.seeds_variance, self.seeds - 1)
        spread = sum(variance**2 / freedom for variance, freedom in parts if freedom > 0)
        return self.error**4 / spread if spread else math.inf

    @property
    def p(self) -> float:
        """Two-sided; nan if nothing varies, but the difference is not 0."""
        if self.difference == 0:
            return 1.0
        if not self.error > 0:
            return math.nan
        return 2 * float(scipy.stats.t.sf(abs(self.difference) / self.error, self.freedom))

    def interval(self, confidence: float = 0.95) -> Interval:
        """Lower and upper end; both nan if nothing varies, but the difference is not 0."""
        if self.difference and not self.error > 0:
            return math.nan, math.nan
        half = self.error * float(scipy.stats.t.ppf((1 + confidence) / 2, self.freedom))
        return self.difference - half, self.difference + half

    def detectable(self, level: float = 0.05, power: float = 0.8) -> float:
        """Return the smallest difference that would have been found, at a level, with that power.

        Bloom, "Minimum Detectable Effects", Evaluation Review 1995.
        https://doi.org/10.1177/0193841X9501900504
        """
        needed = scipy.stats.t.ppf(1 - level / 2, self.freedom) + scipy.stats.t.ppf(
            power, self.freedom
        )
        return self.error * float(needed) if self.error > 0 else math.nan

    def scale_to(self, rows: float, seeds: int) -> Paired:
        """Return the expected result with ``rows`` times as many rows and ``seeds`` seeds."""
        return replace(
            self,
            rows_variance=self.rows_variance / rows,
            seeds_variance=self.seeds_variance * self.seeds / seeds,
            rows=round(self.rows * rows),
            seeds=seeds,
        )


def compare_paired(differences_S: Floats, replicates_RS: Floats, rows: int) -> Paired:
    """Return the mean difference of S pairs of models that were scored on the same N rows.

    :param differences_S: Difference of each pair on all rows.
    :param replicates_RS: The same in R resamples of the rows; those with nan are left out.
    """
    known_RS = replicates_RS[~np.isnan(replicates_RS).any(axis=1)]
    seeds = len(differences_S)
    return Paired(
        difference=float(differences_S.mean()),
        rows_variance=_variance(known_RS.mean(axis=1)) if len(known_RS) > 1 else math.nan,
        seeds_variance=_variance(differences_S) / seeds if seeds > 1 else 0.0,
        rows=rows,
        seeds=seeds,
    )


def holm(chances: Mapping[Key, float]) -> dict[Key, float]:
    """P values that hold for all tests together; those that are nan are no tests.

    Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of
    Statistics 1979. https://www.jstor.org/stable/4615733
    """
    known = {key: p for key, p in chances.items() if not math.isnan(p)}
    adjusted, least = dict.fromkeys(chances, math.nan), 0.0
    for rank, key in enumerate(sorted(known, key=lambda key: known[key])):
        least = max(least, min(1.0, (len(known) - rank) * known[key]))
        adjusted[key] = least
    return adjusted


def seeds_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Return the mean of paired values over seeds, and half the width of Student's interval of it."""
    half = scipy.stats.sem(values) * scipy.stats.t.ppf((1 + confidence) / 2, len(values) - 1)
    return float(np.mean(values)), float(half)


def _variance(values_R: Floats) -> float:
    """Rounding is no variance: equal numbers have none."""
    return float(values_R.var(ddof=1)) if np.ptp(values_R) > 0 else 0.0
