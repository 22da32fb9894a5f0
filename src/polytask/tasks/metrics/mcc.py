"""Matthews correlation coefficient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, final

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from polytask.tasks.metrics.base import Floats, Metric, Rows, metrics, one_label

Codes = npt.NDArray[np.int64]


class ClassCodes(NamedTuple):
    """The numbers of the true and of the predicted class of each row."""

    actual_N: Codes
    predicted_N: Codes


@final
@metrics.register("mcc")
class MCC(Metric):
    """Correlation of the predicted with the true class, between -1 and 1; 0 if either is constant.

    Gorodkin, "Comparing two K-category assignments by a K-category correlation coefficient",
    Computational Biology and Chemistry 2004.
    https://doi.org/10.1016/j.compbiolchem.2004.09.006
    """

    forms = ("label",)
    name = "mcc"

    @override
    def evidence(self, references: Rows, predictions: Rows, probabilities: Rows) -> ClassCodes:
        codes = np.unique([*references, *predictions], return_inverse=True)[1]
        return ClassCodes(codes[: len(references)], codes[len(references) :])

    @override
    def value(self, evidence: ClassCodes, weights_N: Floats) -> float:
        if not weights_N.any():
            return float("nan")
        size = max(evidence.actual_N.max(), evidence.predicted_N.max()) + 1
        actual_C = np.bincount(evidence.actual_N, weights_N, minlength=size)
        predicted_C = np.bincount(evidence.predicted_N, weights_N, minlength=size)
        total = weights_N.sum()
        right = weights_N @ (evidence.actual_N == evidence.predicted_N)
        covariance = right * total - actual_C @ predicted_C
        variances = (total**2 - actual_C @ actual_C) * (total**2 - predicted_C @ predicted_C)
        return float(covariance / np.sqrt(variances)) if variances > 0 else 0.0

    @override
    def why_uninformative(self, references: Sequence[Any]) -> str | None:
        return super().why_uninformative(references) or one_label(references)
