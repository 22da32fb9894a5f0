"""Means with their standard errors."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def mean_and_error(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Return the mean and its standard error; None where there are too few values."""
    if not values:
        return None, None
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, None
    return mean, statistics.stdev(values) / math.sqrt(len(values))


def known_for_all(values: Mapping[str, Sequence[float]]) -> dict[str, Sequence[float]]:
    """Return the tasks that have a finite value for every seed, so that their means are alike."""
    return {task: own for task, own in values.items() if own and np.isfinite(own).all()}


def mean_or_none(values: Sequence[float]) -> float | None:
    """Return the mean; None if any value is undefined."""
    return statistics.fmean(values) if np.isfinite(values).all() else None


def over_tasks(values: Mapping[str, Sequence[float]]) -> tuple[float | None, float | None]:
    """Return the mean over tasks and its standard error over seeds; see ``known_for_all``."""
    # Averaging over tasks first keeps the correlation of tasks within a seed in the error.
    by_seed = zip(*known_for_all(values).values(), strict=True)
    return mean_and_error([statistics.fmean(each) for each in by_seed])


def matrix_record(samples: Sequence[Floats]) -> dict[str, object]:
    """Return the mean of matrices, entry by entry, as JSON.

    :param samples: Matrices of one shape; nan where an entry is not known.
    :return: ``mean``, ``error`` and ``samples``, the number of values, each a matrix.
    """
    stacked_STT = np.stack(samples)
    # Gaps differ by entry, so each entry has its own number of values.
    _, rows, columns = stacked_STT.shape
    cells = [
        [
            stacked_STT[np.isfinite(stacked_STT[:, row, column]), row, column].tolist()
            for column in range(columns)
        ]
        for row in range(rows)
    ]
    found = [[mean_and_error(cell) for cell in row] for row in cells]
    return {
        "mean": [[mean for mean, _ in row] for row in found],
        "error": [[error for _, error in row] for row in found],
        "samples": [[len(cell) for cell in row] for row in cells],
    }
