"""One label per row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from polytask.core.accounting import UNKNOWN_LABEL, LeftOut
from polytask.core.batch import Fields, Inputs, Row
from polytask.tasks.base import tasks
from polytask.tasks.labels import balance_weights, is_blank
from polytask.tasks.linear_head_task import Share
from polytask.tasks.predictions import Predictions
from polytask.tasks.sentence import LabelTask


@tasks.register("classification")
class Classification(LabelTask):
    """One label per row out of a fixed set, by softmax and cross-entropy.

    A missing value (null, blank text, not a number) is a row without this label. Weighted losses
    are divided by the number of rows, not by the sum of the weights, so that the mean over two
    batches is the mean over their rows.

    :param label_smoothing: Share of the probability spread over all labels. Szegedy et al., CVPR
        2016, section 7.
    """

    label_type = "label"

    def __init__(self, name: str, /, *, label_smoothing: Share = 0.0, **options: Any) -> None:
        super().__init__(name, **options)
        self.label_smoothing = label_smoothing

    @property
    @override
    def default_metrics(self) -> Sequence[str | dict[str, Any]]:
        return ("accuracy", "f1", "precision", "recall")

    @override
    def reference(self, row: Row) -> str | None:
        value = self._column(row)
        return None if is_blank(value) else self._label(value)

    @override
    def fit(self, references: Iterable[str]) -> None:
        self._weigh(balance_weights(self._learn(self._merge(Counter(references)))))

    @override
    def encode(self, reference: str, inputs: Inputs) -> int | LeftOut:
        return self._index.get(reference, LeftOut(UNKNOWN_LABEL))

    @override
    def collate(self, targets: Sequence[int]) -> Tensor:
        return torch.tensor(targets, dtype=torch.long)

    @override
    def loss(self, scores: Tensor, values: Tensor) -> Tensor:
        losses_b = functional.cross_entropy(
            scores.float(),
            values,
            self._weights_like(scores),
            label_smoothing=self.label_smoothing,
            reduction="none",
        )
        return losses_b.mean()

    @override
    def decode(self, scores: Tensor, rows: Sequence[Fields]) -> Predictions:
        chances_bC = scores.detach().double().softmax(-1).cpu().numpy()
        return Predictions(
            [self.labels[best] for best in scores.argmax(-1).tolist()],
            [*chances_bC],
            chances_bC.max(-1).tolist(),
        )
