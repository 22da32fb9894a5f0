"""Confidence intervals of scores by resampling rows.

Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (percentile intervals).
https://doi.org/10.1201/9780429246593
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Interval: TypeAlias = tuple[float, float]

Row: TypeAlias = tuple[Hashable, ...]
"""A unique key of a row: its source and its position there."""

Statistic: TypeAlias = Callable[[Floats], float]
"""A score of N rows that count ``weights_N`` times; nan where it is undefined."""


def percentile_intervals(
    statistics: Sequence[Statistic],
    rows: int,
    *,
    resamples: int,
    confidence: float,
    seed: int = 0,
) -> list[Interval]:
    """Percentile intervals of several statistics of the same rows, from the same resamples.

    :param rows: Number of rows, N.
    :param resamples: Number of resamples, R.
    :param confidence: Probability that an interval is meant to cover.
    :return: Lower and upper end of each; resamples in which a statistic is undefined are left out,
        and both ends are nan if none is left, as with no resamples at all.
    """
    values_RS = replicate(statistics, rows, resamples=resamples, seed=seed)
    return [_interval(values_R, confidence) for values_R in values_RS.T]


def replicate(
    statistics: Sequence[Statistic], rows: int, *, resamples: int, seed: int = 0
) -> Floats:
    """Return the values of several statistics in the same resamples: values_RS, nan where undefined."""
    return np.array(
        [
            [statistic(weights_N) for statistic in statistics]
            for weights_N in resample_weights(rows, resamples, seed)
        ]
    ).reshape(resamples, len(statistics))


def resample_weights(rows: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each row is in each of several resamples of N rows with replacement."""
    generator = np.random.default_rng(seed)
    for _ in range(resamples):
        drawn_N = generator.integers(rows, size=rows)
        yield np.bincount(drawn_N, minlength=rows).astype(np.float64)


def draw_shared_weights(
    rows: Mapping[str, Sequence[Row]], resamples: int, seed: int = 0
) -> Iterator[dict[str, Floats]]:
    """Yield how often the rows of several tasks are in each resample, by task.

    A row that several tasks label counts alike for all of them. Every source is resampled by
    itself, with as many rows as it has.

    :param rows: Those of each task.
    """
    place = {row: at for at, row in enumerate(dict.fromkeys(chain.from_iterable(rows.values())))}
    sources: dict[Hashable, list[int]] = {}
    for row, at in place.items():
        sources.setdefault(row[0], []).append(at)
    blocks = [np.array(block) for block in sources.values()]
    own = {task: np.array([place[row] for row in keys]) for task, keys in rows.items()}
    generator = np.random.default_rng(seed)
    for _ in range(resamples):
        drawn = [block_n[generator.integers(len(block_n), size=len(block_n))] for block_n in blocks]
        weights_N = np.bincount(np.concatenate(drawn), minlength=len(place)).astype(np.float64)
        yield {task: weights_N[rows_n] for task, rows_n in own.items()}


def _interval(values_R: Floats, confidence: float) -> Interval:
    defined = values_R[~np.isnan(values_R)]
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
