"""Task types with one answer per row: a text, a pair, an image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from polytask.core.alignment import Alignment
from polytask.core.errors import DataError, RecipeError
from polytask.tasks.base import Head
from polytask.tasks.heads import Pool, SentenceHead
from polytask.tasks.labels import (
    Label,
    given_weights,
    label_order,
    label_text,
    merge_hint,
    unknown_label,
)
from polytask.tasks.linear_head_task import ScoredTask
from polytask.tasks.spelling import SpelledTask

Weights: TypeAlias = Literal["balanced"] | dict[Label, Annotated[float, Field(ge=0)]]


class SentenceTask(ScoredTask, ABC):
    """One answer per row, from a head on one pooled vector.

    :param pool: How the tokens of a row become one vector.
    """

    def __init__(self, name: str, /, *, pool: Pool = "auto", **options: Any) -> None:
        super().__init__(name, **options)
        self.pool = pool

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Number of scores per row."""

    @override
    def augment_label(self, label: Any, alignment: Alignment) -> Any:
        return label  # a few other words do not change what a text is about

    @override
    def head(self, width: int) -> Head:
        return SentenceHead(width, self.outputs, self.pool, self.dropout, self.hidden)

    @property
    @override
    def head_shape(self) -> dict[str, Any]:
        return {**super().head_shape, "pool": self.pool}


class LabelTask(SpelledTask, SentenceTask, ABC):
    """A label set, given or learned, and weights of its labels.

    :param labels: The label set in order; by default the labels of the training rows, sorted.
    :param class_weights: Weights of the labels in the loss: by label, 1 for the others, or
        ``balanced`` by their numbers of training rows.
    """

    def __init__(
        self,
        name: str,
        /,
        *,
        labels: list[Label] | None = None,
        class_weights: Weights | None = None,
        **options: Any,
    ) -> None:
        super().__init__(name, **options)
        self.class_weights = class_weights
        self.given = [label_text(label) for label in labels or ()]
        self._weights: list[float] | None = None
        self._index: dict[str, int] = {}
        twice = [label for label, count in Counter(self.given).items() if count > 1]
        if twice:
            raise RecipeError([f"tasks.{name}.labels: {label!r} is given twice" for label in twice])
        self._fix(self.given, "labels")

    @property
    @override
    def labels(self) -> Sequence[str]:
        return tuple(self._index)

    @override
    def notes(self) -> Sequence[str]:
        notes = super().notes()
        if self.given or not (real := numbers_among(self.labels)):
            return notes
        return (
            *notes,
            f"All labels are numbers, such as {real}. Each is a class; kind: regression predicts "
            "numbers.",
        )

    @property
    @override
    def outputs(self) -> int:
        return len(self._index)

    @override
    def state(self) -> dict[str, Any]:
        return {"labels": list(self._index), "weights": self._weights}

    @override
    def restore(self, state: Mapping[str, Any]) -> None:
        self._index = {label: position for position, label in enumerate(state["labels"])}
        self._weights = state["weights"]
        self._restore_spellings(self._index)

    @override
    def _label(self, value: Any) -> str:
        """Return a label as text.

        :raises DataError: If the value is no label, or not of the given label set.
        """
        try:
            label = super()._label(value)
        except DataError as error:
            raise DataError(
                f"task {self.name}: column {self.target_column!r}: {error}. "
                "Numbers are predicted by kind: regression, lists of labels by kind: multilabel."
            ) from None
        if self.given and label not in self.given:
            hint = merge_hint(label, self.given)
            raise DataError(f"task {self.name}: {unknown_label(label, self.given)}{hint}")
        return label

    def _learn(self, counts: Mapping[str, int]) -> list[int]:
        """Fix the label set, and return the number of training rows of each label."""
        labels = self.given or sorted(counts, key=label_order)
        if not labels:
            raise DataError(
                f"task {self.name}: no training row has a label in column {self.target_column!r}"
            )
        self._index = {label: position for position, label in enumerate(labels)}
        return [counts.get(label, 0) for label in labels]

    def _weigh(self, balanced: list[float]) -> None:
        """Fix the weights of the labels.

        :param balanced: What ``class_weights: balanced`` stands for.
        :raises RecipeError: If a weight is given for an unknown label.
        """
        if self.class_weights is None or self.class_weights == "balanced":
            self._weights = balanced if self.class_weights else None
            return
        try:
            self._weights = given_weights(
                self.labels,
                [(self._respell(label_text(one)), own) for one, own in self.class_weights.items()],
            )
        except KeyError as unknown:
            raise RecipeError([f"tasks.{self.name}.class_weights: {unknown.args[0]}"]) from None

    def _weights_like(self, scores_bC: Tensor) -> Tensor | None:
        """Return the weights of the labels where the scores are, or None without weights."""
        if self._weights is None:
            return None
        return torch.tensor(self._weights, device=scores_bC.device)


def numbers_among(labels: Sequence[str]) -> str | None:
    """Return a number that is not whole, if all labels are numbers and there is one."""
    orders = [label_order(label) for label in labels]
    if any(is_word for is_word, _, _ in orders):
        return None
    return next((label for _, number, label in orders if not number.is_integer()), None)
