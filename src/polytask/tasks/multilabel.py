"""Any number of labels per row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from polytask.core.accounting import UNKNOWN_LABEL, LeftOut
from polytask.core.batch import Inputs, Row
from polytask.core.errors import DataError
from polytask.tasks.base import Floats, tasks
from polytask.tasks.labels import label_order, positive_weights
from polytask.tasks.scored import Share
from polytask.tasks.sentence import LabelTask


@final
@tasks.register("multilabel")
class Multilabel(LabelTask):
    """Any number of labels per row, each by its own sigmoid and binary cross-entropy.

    The column holds a list of labels, or one text with a delimiter; an empty one says that no
    label applies, a null that the row is not labelled. Class weights multiply the loss of the
    rows that carry a label; ``balanced`` makes them as heavy as the rows that do not.

    :param threshold: Probability from which a label is predicted.
    :param delimiter: What separates the labels of a row when the column holds text.
    """

    form = "labels"

    def __init__(
        self,
        name: str,
        /,
        *,
        threshold: Share = 0.5,
        delimiter: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(name, **options)
        self.threshold = threshold
        self.delimiter = delimiter

    @property
    @override
    def default_metrics(self) -> Sequence[str | dict[str, Any]]:
        return ({"kind": "f1", "average": "micro"}, "f1", "exact_match")

    @override
    def reference(self, row: Row) -> list[str] | None:
        value = self._column(row)
        if value is None:
            return None
        return sorted({self._label(item) for item in self._split(value)}, key=label_order)

    @override
    def fit(self, references: Iterable[list[str]]) -> None:
        rows = 0
        counts: Counter[str] = Counter()
        for reference in references:
            rows += 1
            counts.update(reference)
        self._weigh(positive_weights(self._learn(counts), rows))

    @override
    def encode(self, reference: list[str], inputs: Inputs) -> list[float] | LeftOut:
        if reference and not any(label in self._index for label in reference):
            return LeftOut(UNKNOWN_LABEL)
        return [float(label in reference) for label in self._index]

    @override
    def collate(self, targets: Sequence[list[float]]) -> Tensor:
        return torch.tensor(targets, dtype=torch.float)

    @override
    def loss(self, scores: Tensor, values: Tensor) -> Tensor:
        weights_C = self._weights_like(scores)
        return functional.binary_cross_entropy_with_logits(
            scores.float(), values, pos_weight=weights_C
        )

    @override
    def decode(self, scores: Tensor) -> list[list[str]]:
        return [
            sorted(
                (label for label, chosen in zip(self.labels, row, strict=True) if chosen),
                key=label_order,
            )
            for row in (scores.float().sigmoid() >= self.threshold).tolist()
        ]

    @override
    def confidences(
        self, scores: Any, predictions: Sequence[Any], probabilities: Sequence[Floats] | None
    ) -> list[list[float]]:
        """Return the probability of each label that is predicted."""
        rows = zip(predictions, probabilities or (), strict=True)
        return [[float(own_C[self._index[label]]) for label in labels] for labels, own_C in rows]

    @override
    def probabilities(self, scores: Tensor) -> list[Floats]:
        return list(scores.detach().double().sigmoid().cpu().numpy())

    @override
    def scorer_lines(
        self, references: Sequence[Any], predictions: Sequence[Any], fields: Sequence[Any]
    ) -> list[str]:
        return [",".join(prediction) for prediction in predictions]

    def _split(self, value: Any) -> Iterable[Any]:
        """The labels of a row, still as the source wrote them."""
        if isinstance(value, str) and self.delimiter is not None:
            return [label for part in value.split(self.delimiter) if (label := part.strip())]
        if isinstance(value, list | tuple):
            return value
        raise DataError(
            f"task {self.name}: column {self.target_column!r}: expected a list of labels, found "
            f"{value!r}. If it is text with several labels, set delimiter."
        )
