"""Tests of whether two models differ on the same rows. Pure functions of NumPy arrays.

They say whether two *trained* models differ. Whether two ways of training differ, which is another
question as chance has a part in every training, is answered in ``evaluation/significance.py``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy  # its parts are imported when they are used

from polytask.evaluation.bootstrap import Floats

Bools = npt.NDArray[np.bool_]


def mcnemar_mid_p(only_first: int, only_second: int) -> float:
    """Return the mid-p value of McNemar's test, two-sided.

    It counts half the probability of the observed numbers, and is less conservative than the exact
    test. McNemar, Psychometrika 1947. https://doi.org/10.1007/BF02295996

    Fagerland, Lydersen and Laake, "The McNemar test for binary matched-pairs data: mid-p and
    asymptotic are better than exact conditional", BMC Medical Research Methodology 2013.
    https://doi.org/10.1186/1471-2288-13-91 Equal numbers are given 1, where the paper subtracts
    half the probability of what was seen: models that agree on every row would have p = 0.5.

    :param only_first: Rows that only the first model has right.
    :param only_second: Rows that only the second one has right.
    """
    fewer, discordant = min(only_first, only_second), only_first + only_second
    seen = float(scipy.stats.binom.pmf(fewer, discordant, 0.5))
    return min(1.0, 2 * float(scipy.stats.binom.cdf(fewer, discordant, 0.5)) - seen)


def mcnemar_of_rows(first_N: Bools, second_N: Bools) -> float:
    """Return the mid-p value of two models that have each row right or wrong."""
    return mcnemar_mid_p(int((first_N & ~second_N).sum()), int((second_N & ~first_N).sum()))


class Areas(NamedTuple):
    """Areas under two curves of the same rows."""

    areas_2: Floats
    covariance_22: Floats

    @property
    def p(self) -> float:
        """The chance of so large a difference if there was none; two-sided, nan without pairs."""
        difference = float(self.areas_2[0] - self.areas_2[1])
        contrast_2 = np.array([1.0, -1.0])
        variance = float(contrast_2 @ self.covariance_22 @ contrast_2)
        return normal_p(difference, max(0.0, variance))


def delong(positive_N: Bools, scores_2N: Floats) -> Areas:
    """Return the areas under the curves of two scores of the same rows, and their covariance.

    DeLong, DeLong and Clarke-Pearson, Biometrics 1988
    (https://doi.org/10.2307/2531595), by the midranks of Sun and Xu, IEEE Signal Processing Letters
    2014, algorithm 2 (https://doi.org/10.1109/LSP.2014.2337313).

    :param positive_N: Whether each row is of the positive class; two rows of each are needed.
    :param scores_2N: Of any scale; only their order matters.
    """
    ranks_2N = scipy.stats.rankdata(scores_2N, axis=1)
    ups_2M, downs_2K = scores_2N[:, positive_N], scores_2N[:, ~positive_N]
    ups, downs = ups_2M.shape[1], downs_2K.shape[1]
    if min(ups, downs) < 2:
        return Areas(np.full(2, np.nan), np.full((2, 2), np.nan))
    above_2M = (ranks_2N[:, positive_N] - scipy.stats.rankdata(ups_2M, axis=1)) / downs
    above_2K = 1 - (ranks_2N[:, ~positive_N] - scipy.stats.rankdata(downs_2K, axis=1)) / ups
    return Areas(above_2M.mean(axis=1), np.cov(above_2M) / ups + np.cov(above_2K) / downs)


def bootstrap_p(differences_R: Floats) -> float:
    """Return the p value of a paired bootstrap; two-sided.

    Twice the share of resamples on the far side of zero, the rows as they are counted as one of
    them: inversion of the percentile interval, Efron and Tibshirani, "An Introduction to the
    Bootstrap", 1993, chapter 16. https://doi.org/10.1201/9780429246593

    :param differences_R: The difference of the two scores in every resample; nan is left out.
    """
    known = differences_R[~np.isnan(differences_R)]
    if not len(known):
        return float("nan")
    tail = min(int((known <= 0).sum()), int((known >= 0).sum()))
    return min(1.0, 2 * (tail + 1) / (len(known) + 1))


def normal_p(difference: float, variance: float) -> float:
    """Return the two-sided p value of a normal difference; nan if one that is not 0 has no variance."""
    if difference == 0:
        return 1.0
    return (
        2 * float(scipy.stats.norm.sf(abs(difference) / variance**0.5))
        if variance
        else float("nan")
    )
