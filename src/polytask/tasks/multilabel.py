"""Any number of labels per row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import compress
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from polytask.core.accounting import UNKNOWN_LABEL, LeftOut
from polytask.core.batch import Fields, Inputs, Row
from polytask.core.errors import DataError
from polytask.tasks.base import tasks
from polytask.tasks.labels import is_blank, label_order, positive_weights, require_no_list
from polytask.tasks.linear_head_task import Share
from polytask.tasks.lines import csv_line
from polytask.tasks.predictions import Predictions
from polytask.tasks.sentence import LabelTask


@tasks.register("multilabel")
class Multilabel(LabelTask):
    """Any number of labels per row, each by its own sigmoid and binary cross-entropy.

    The column holds a list of labels, or one text with a delimiter. An empty list says that no
    label applies, a null that the row is not labelled. Tables of text cannot tell one from the
    other, so that with a delimiter an empty cell, or a null, says that no label applies. Class
    weights multiply the loss of the rows that carry a label; ``balanced`` makes them as heavy as
    the rows that do not.

    :param threshold: Probability from which a label is predicted.
    :param delimiter: Text between two labels, if the column holds text. Empty parts, and spaces
        around a part, do not count.
    :param empty: Meaning of an empty cell, or a null, where there is a delimiter: ``none``, no
        label applies, or ``missing``, the row is not labelled.
    """

    label_type = "labels"

    def __init__(
        self,
        name: str,
        /,
        *,
        threshold: Share = 0.5,
        delimiter: Annotated[str, Field(min_length=1)] | None = None,
        empty: Literal["none", "missing"] = "none",
        **options: Any,
    ) -> None:
        super().__init__(name, **options)
        self.threshold = threshold
        self.delimiter = delimiter
        self.empty = empty
        self._empty_rows = self._rows = 0

    @property
    @override
    def default_metrics(self) -> Sequence[str | dict[str, Any]]:
        return ({"kind": "f1", "average": "micro"}, "f1", "exact_match")

    @override
    def reference(self, row: Row) -> list[str] | None:
        value = self._column(row)
        if is_blank(value) and (value is None or self.delimiter is not None):
            return [] if self.delimiter is not None and self.empty == "none" else None
        return sorted({self._label(item) for item in self._split(value)}, key=label_order)

    @override
    def fit(self, references: Iterable[list[str]]) -> None:
        sets = Counter(map(tuple, references))
        self._rows, self._empty_rows = sets.total(), sets[()]
        self._merge(_label_counts(sets))
        merged: Counter[tuple[str, ...]] = Counter()
        for labels, count in sets.items():
            merged[tuple({self._respell(label) for label in labels})] += count
        self._weigh(positive_weights(self._learn(_label_counts(merged)), self._rows))

    @override
    def notes(self) -> Sequence[str]:
        if self.delimiter is None or not self._empty_rows:
            return super().notes()
        return (
            *super().notes(),
            f"In {self._empty_rows} of {self._rows} training rows column {self.target_column!r} is "
            "empty: no label applies. If these rows are not labelled, set empty: missing.",
        )

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
    def decode(self, scores: Tensor, rows: Sequence[Fields]) -> Predictions:
        """Return each label that is predicted has its own probability as confidence."""
        chances_bC = scores.detach().double().sigmoid().cpu().numpy()
        chosen_bC = (scores.float().sigmoid() >= self.threshold).tolist()
        labels = [
            sorted(compress(self.labels, chosen_C), key=label_order) for chosen_C in chosen_bC
        ]
        found = zip(labels, chances_bC, strict=True)
        confidences = [[float(own_C[self._index[label]]) for label in row] for row, own_C in found]
        return Predictions(labels, [*chances_bC], confidences)

    @override
    def scorer_lines(
        self, references: Sequence[Any], predictions: Sequence[Any], fields: Sequence[Any]
    ) -> list[str]:
        """Return the labels of a row as a line of CSV: separated by commas, in quotes where they hold one."""
        return [csv_line(prediction) for prediction in predictions]

    def _split(self, value: Any) -> Iterable[Any]:
        """Return the labels of a row, still as the source wrote them."""
        if isinstance(value, list | tuple):
            if None in value:
                raise DataError(
                    f"task {self.name}: column {self.target_column!r}: expected labels in the "
                    f"list, found null in {value!r}. Remove it, or write null for the whole list."
                )
            return [item for item in value if not (isinstance(item, str) and is_blank(item))]
        if isinstance(value, str):
            try:
                require_no_list(value)
            except DataError as error:
                raise DataError(
                    f"task {self.name}: column {self.target_column!r}: {error}."
                ) from None
        if self.delimiter is not None:
            if not isinstance(value, str):
                return [value]
            return [label for part in value.split(self.delimiter) if (label := part.strip())]
        raise DataError(
            f"task {self.name}: column {self.target_column!r}: expected a list of labels, found "
            f"{value!r}. If it is text with several labels, set delimiter."
        )


def _label_counts(sets: Mapping[tuple[str, ...], int]) -> Counter[str]:
    """Return in how many rows each label is.

    :param sets: Sets of labels and their number of rows.
    """
    counts: Counter[str] = Counter()
    for labels, count in sets.items():
        counts.update(dict.fromkeys(labels, count))
    return counts
