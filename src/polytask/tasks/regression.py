"""One number per row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from polytask.core.batch import Fields, Inputs, Row
from polytask.core.errors import DataError
from polytask.tasks.base import tasks
from polytask.tasks.numbers import number_of
from polytask.tasks.predictions import Predictions
from polytask.tasks.sentence import SentenceTask

_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": functional.mse_loss,
    "huber": functional.huber_loss,
}


@tasks.register("regression")
class Regression(SentenceTask):
    """One number per row, standardised with the mean and deviation of the training rows.

    Standard targets make the losses of several regressions, and of classification beside them,
    alike in size. The column holds numbers or text that reads as one.

    :param loss: ``mse``, or ``huber``, which is linear beyond one standard deviation (Huber,
        Annals of Mathematical Statistics 1964).
    """

    label_type = "number"

    def __init__(
        self, name: str, /, *, loss: Literal["mse", "huber"] = "mse", **options: Any
    ) -> None:
        super().__init__(name, **options)
        self._loss = _LOSSES[loss]
        self._mean, self._deviation = 0.0, 1.0

    @property
    @override
    def default_metrics(self) -> Sequence[str | dict[str, Any]]:
        return ("pearson", "spearman", "rmse", "mae")

    @property
    @override
    def outputs(self) -> int:
        return 1

    @override
    def reference(self, row: Row) -> float | None:
        value = self._column(row)
        try:
            return number_of(value)
        except DataError as error:
            raise DataError(f"task {self.name}: column {self.target_column!r}: {error}.") from None

    @override
    def fit(self, references: Iterable[float]) -> None:
        numbers_N = np.fromiter(references, dtype=np.float64)
        if not len(numbers_N):
            raise DataError(
                f"task {self.name}: no training row has a number in column {self.target_column!r}"
            )
        self._mean = float(numbers_N.mean())
        self._deviation = float(numbers_N.std()) if np.ptp(numbers_N) else 1.0

    @override
    def encode(self, reference: float, inputs: Inputs) -> float:
        return (reference - self._mean) / self._deviation

    @override
    def collate(self, targets: Sequence[float]) -> Tensor:
        return torch.tensor(targets, dtype=torch.float)

    @override
    def loss(self, scores: Tensor, values: Tensor) -> Tensor:
        return self._loss(scores.float().squeeze(-1), values)

    @override
    def decode(self, scores: Tensor, rows: Sequence[Fields]) -> Predictions:
        standard_b = scores.double().squeeze(-1)
        return Predictions((standard_b * self._deviation + self._mean).tolist())

    @override
    def state(self) -> dict[str, Any]:
        return {"mean": self._mean, "deviation": self._deviation}

    @override
    def restore(self, state: Mapping[str, Any]) -> None:
        self._mean, self._deviation = state["mean"], state["deviation"]
