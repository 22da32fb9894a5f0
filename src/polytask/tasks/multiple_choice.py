"""The right one of several choices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from string import ascii_uppercase
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from polytask.core.accounting import LeftOut
from polytask.core.batch import Fields, Inputs, Row
from polytask.core.errors import DataError
from polytask.core.texts import texts_in
from polytask.tasks.base import tasks
from polytask.tasks.candidates import TextsHead, kept_scores, shares
from polytask.tasks.inputs import InputSpec
from polytask.tasks.labels import Label, is_blank, label_text, merge_hint, unknown_label
from polytask.tasks.predictions import Predictions
from polytask.tasks.sentence import SentenceTask
from polytask.tasks.spelling import SpelledTask


@final
@tasks.register("multiple_choice")
class MultipleChoice(SpelledTask, SentenceTask):
    """One of the choices that the last input column lists, which may differ in number.

    The target column holds the number of the right choice, or a list with 1 for it and 0 for all
    others. The other columns are encoded with every choice, one pass each, and a softmax is over the
    choices of a row (Radford et al., "Improving Language Understanding by Generative Pre-Training",
    2018, section 3.3). Rows with a single choice are not trained on.

    :param names: Names of the first, the second, ... choice in the target column; by default their
        numbers from 0.
    """

    label_type = "choice"
    inputs = InputSpec(read_as="each")

    def __init__(self, name: str, /, *, names: list[Label] | None = None, **options: Any) -> None:
        super().__init__(name, **options)
        self.names = [label_text(one) for one in names or ()]
        self._fix(self.names, "names")

    @property
    @override
    def default_metrics(self) -> Sequence[str | dict[str, Any]]:
        return ("accuracy",)

    @property
    @override
    def outputs(self) -> int:
        return 1

    @override
    def reference(self, row: Row) -> str | None:
        value = self._column(row)
        if is_blank(value):
            return None
        choices = row.get(self.input_columns[-1]) if self.input_columns else None
        choices = choices if isinstance(choices, list) else None
        label = self._mark(value) if isinstance(value, list) else self._name_choice(value, choices)
        if choices is not None:
            self._require(label, choices)
            if isinstance(value, list) and len(value) != len(choices):
                raise DataError(
                    f"task {self.name}: column {self.target_column!r}: found {value!r} for "
                    f"{len(choices)} choices. Expected one number for each."
                )
        return label

    def _name_choice(self, value: Any, choices: list[Any] | None) -> str:
        """Return the choice that a number or a name stands for."""
        label = self._label(value)
        if self.names and label not in self.names:
            raise DataError(
                f"task {self.name}: {unknown_label(label, self.names)}{merge_hint(label, self.names)}"
            )
        if not self.names and not label.isdecimal():
            raise DataError(
                f"task {self.name}: column {self.target_column!r}: expected the number of a choice, "
                f"from 0, found {value!r}. {_advice(label, choices or [])}"
            )
        return label if self.names else str(int(label))

    def _require(self, label: str, choices: list[Any]) -> None:
        """Refuse a label beyond the choices of its row, and choices without a name."""
        if self.names and len(choices) > len(self.names):
            raise self._number_choice(len(choices))
        if self._place(label) >= len(choices):
            one_based = label == str(len(choices)) and not self.names
            numbers = ", ".join(str(at + 1) for at in range(len(choices)))
            raise DataError(
                f"task {self.name}: column {self.target_column!r}: found {label!r}, but the row has "
                f"{len(choices)} choices"
                + (
                    f", counted from 0. To count from 1, set names: [{numbers}]."
                    if one_based
                    else "."
                )
            )

    def _place(self, label: str) -> int:
        return self.names.index(label) if self.names else int(label)

    def _number_choice(self, choices: int) -> DataError:
        return DataError(
            f"task {self.name}: found {choices} choices, but names lists {len(self.names)}. Name all "
            "choices that a row may have."
        )

    def _mark(self, value: list[Any]) -> str:
        """Return the choice that a list of 0 and 1 marks."""
        right = [place for place, one in enumerate(value) if one == 1]
        names = self.names or [str(place) for place in range(len(value))]
        if len(right) != 1 or any(one not in (0, 1) for one in value) or len(value) > len(names):
            raise DataError(
                f"task {self.name}: column {self.target_column!r}: expected one 1 among 0s, for no "
                f"more than {len(names)} choices, found {value!r}"
            )
        return names[right[0]]

    @override
    def fit(self, references: Iterable[str]) -> None:
        if not any(True for _ in references):
            raise DataError(
                f"task {self.name}: no training row has a choice in column {self.target_column!r}"
            )

    @override
    def encode(self, reference: str, inputs: Inputs) -> int | LeftOut:
        place = self._place(reference)
        choices = len(texts_in(inputs))
        if place >= choices:
            raise DataError(
                f"task {self.name}: column {self.target_column!r}: found {reference!r}, but the row "
                f"has {choices} choices"
            )
        return place if choices > 1 else LeftOut("only one choice")

    @override
    def collate(self, targets: Sequence[int]) -> Tensor:
        return torch.tensor(targets, dtype=torch.long)

    @override
    def head(self, width: int) -> TextsHead:
        return TextsHead(width, self.pool, self.dropout, self.hidden)

    @override
    def loss(self, scores: dict[str, Tensor], values: Tensor) -> Tensor:
        return functional.cross_entropy(kept_scores(scores, scores["scores_bP"].shape[1]), values)

    @override
    def decode(self, scores: dict[str, Tensor], rows: Sequence[Fields]) -> Predictions:
        best_b = kept_scores(scores, scores["scores_bP"].shape[1]).argmax(1).tolist()
        if self.names and max(best_b, default=0) >= len(self.names):
            raise self._number_choice(max(best_b) + 1)
        labels = [self.names[best] if self.names else str(best) for best in best_b]
        return Predictions(labels, confidences=[max(chances) for chances in shares(scores)])

    @override
    def state(self) -> dict[str, Any]:
        return {}

    @override
    def restore(self, state: Mapping[str, Any]) -> None: ...


def _advice(label: str, choices: list[Any]) -> str:
    """Return how to write a label that is no number."""
    if label in choices:
        return f"It is the text of choice {choices.index(label)}; write this number."
    letters = ", ".join(ascii_uppercase[: len(choices) or 4])
    return f"If the column names the choices, list them, as in names: [{letters}]."
