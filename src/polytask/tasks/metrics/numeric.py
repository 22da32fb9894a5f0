"""Errors and correlations of predicted numbers."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from typing import Any, NamedTuple, final

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from polytask.tasks.metrics.base import Floats, Metric, Rows, metrics

_CONSTANT = 1e-13
"""A standard deviation below this share of the mean is rounding; scipy warns below it."""


class Numbers(NamedTuple):
    """References and predictions of N rows."""

    actual_N: Floats
    predicted_N: Floats


class _NumberMetric(Metric, ABC):
    """A metric of a true and a predicted number per row."""

    forms = ("number",)

    @property
    @override
    def name(self) -> str:
        return type(self).__name__.lower()

    @override
    def evidence(self, references: Rows, predictions: Rows, probabilities: Rows) -> Any:
        return Numbers(np.array(references, np.float64), np.array(predictions, np.float64))


@final
@metrics.register("rmse")
class RMSE(_NumberMetric):
    """The root of the mean squared error; lower is better."""

    higher_is_better = False

    @override
    def value(self, evidence: Numbers, weights_N: Floats) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            squares_N = (evidence.predicted_N - evidence.actual_N) ** 2
            return _finite(np.sqrt(mean_of_rows(squares_N, weights_N)))


@final
@metrics.register("mae")
class MAE(_NumberMetric):
    """The mean absolute error; lower is better."""

    higher_is_better = False

    @override
    def value(self, evidence: Numbers, weights_N: Floats) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            distances_N = np.abs(evidence.predicted_N - evidence.actual_N)
            return _finite(mean_of_rows(distances_N, weights_N))


class _Correlation(_NumberMetric, ABC):
    """A coefficient that is undefined if references or predictions are constant."""

    @override
    def why_uninformative(self, references: Sequence[Any]) -> str | None:
        constant = len({*references}) == 1
        few = "only one row has a label" if len(references) == 1 else "all numbers are equal"
        return super().why_uninformative(references) or (few if constant else None)


@final
@metrics.register("pearson")
class Pearson(_Correlation):
    """Linear correlation of predictions and references; undefined if either is constant."""

    @override
    def value(self, evidence: Numbers, weights_N: Floats) -> float:
        return _correlation(evidence.actual_N, evidence.predicted_N, weights_N)


class Levels(NamedTuple):
    """Positions of N numbers among their distinct values, of references and predictions."""

    actual_N: npt.NDArray[np.int64]
    predicted_N: npt.NDArray[np.int64]


@final
@metrics.register("spearman")
class Spearman(_Correlation):
    """Correlation of the ranks of predictions and references; ties share their mean rank."""

    @override
    def evidence(
        self, references: Rows, predictions: Rows, probabilities: Rows
    ) -> tuple[Levels, npt.NDArray[np.bool_]]:
        numbers = super().evidence(references, predictions, probabilities)
        levels = Levels(*(np.unique(own_N, return_inverse=True)[1] for own_N in numbers))
        return levels, np.isnan(numbers).any(axis=0)

    @override
    def value(self, evidence: tuple[Levels, npt.NDArray[np.bool_]], weights_N: Floats) -> float:
        levels, unknown_N = evidence
        if weights_N[unknown_N].any():  # nan has no rank
            return float("nan")
        actual_N, predicted_N = (_ranks(levels_N, weights_N) for levels_N in levels)
        return _correlation(actual_N, predicted_N, weights_N)


def _ranks(levels_N: npt.NDArray[np.int64], weights_N: Floats) -> Floats:
    """Return mean ranks from 1, with every row repeated ``weights_N`` times."""
    size_K = np.bincount(levels_N, weights_N)
    ranks_K: Floats = np.cumsum(size_K) - (size_K - 1) / 2
    return ranks_K[levels_N]


def _correlation(x_N: Floats, y_N: Floats, weights_N: Floats) -> float:
    """Return Pearson's coefficient of weighted rows; nan if either is constant."""
    if not weights_N.any():
        return float("nan")
    shares_N = weights_N / weights_N.sum()
    with np.errstate(over="ignore", invalid="ignore"):  # diverged predictions are undefined
        x_mean, y_mean = shares_N @ x_N, shares_N @ y_N
        x_N, y_N = x_N - x_mean, y_N - y_mean
        x_spread, y_spread = np.sqrt(shares_N @ x_N**2), np.sqrt(shares_N @ y_N**2)
        if x_spread <= _CONSTANT * abs(x_mean) or y_spread <= _CONSTANT * abs(y_mean):
            return float("nan")
        return _finite(np.clip(shares_N @ (x_N * y_N) / (x_spread * y_spread), -1, 1))


def mean_of_rows(values_N: Floats, weights_N: Floats) -> float:
    """Return the weighted mean; nan if any value is nan or all weights are 0."""
    total = weights_N.sum()
    return float(values_N @ weights_N / total) if total else float("nan")


def _finite(value: float) -> float:
    return float(value) if np.isfinite(value) else float("nan")
