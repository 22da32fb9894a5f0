"""The right one of several choices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, final

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from polytask.core.accounting import LeftOut
from polytask.core.batch import Inputs, Row
from polytask.core.errors import DataError
from polytask.core.texts import ReadAs, texts_in
from polytask.tasks.base import Floats, tasks
from polytask.tasks.items import TextsHead, kept_scores, shares
from polytask.tasks.labels import Label, label_text, unknown_label
from polytask.tasks.sentence import SentenceTask


@final
@tasks.register("multiple_choice")
class MultipleChoice(SentenceTask):
    """One of the choices that the last input column lists, which may differ in number.

    The target column holds the number of the right choice, or a list with 1 for it and 0 for all
    others. The other columns are encoded with every choice, one pass each, and a softmax is over the
    choices of a row (Radford et al., "Improving Language Understanding by Generative Pre-Training",
    2018, section 3.3). Rows with a single choice have nothing to learn from.

    :param names: What the target column calls the first, the second, ... choice; by default their
        numbers from 0.
    """

    form = "choice"
    read_as: ClassVar[ReadAs] = "each"

    def __init__(self, name: str, /, *, names: list[Label] | None = None, **options: Any) -> None:
        super().__init__(name, **options)
        self.names = [label_text(one) for one in names or ()]

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
        if value is None or value == "":
            return None
        if isinstance(value, list):
            return self._marked(value)
        label = label_text(value)
        if self.names and label not in self.names:
            raise DataError(f"task {self.name}: {unknown_label(label, self.names)}")
        if not self.names and not label.isdecimal():
            raise DataError(
                f"task {self.name}: column {self.target_column!r}: expected the number of a choice, "
                f"from 0, found {value!r}. If the column names them otherwise, list names."
            )
        return label

    def _marked(self, value: list[Any]) -> str:
        """The choice that a list of 0 and 1 marks."""
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
        place = self.names.index(reference) if self.names else int(reference)
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
    def decode(self, scores: dict[str, Tensor]) -> list[str]:
        best_b = kept_scores(scores, scores["scores_bP"].shape[1]).argmax(1).tolist()
        return [self.names[best] if self.names else str(best) for best in best_b]

    @override
    def confidences(
        self, scores: Any, predictions: Sequence[Any], probabilities: Sequence[Floats] | None
    ) -> list[float]:
        return [max(chances) for chances in shares(scores)]

    @override
    def state(self) -> dict[str, Any]:
        return {}

    @override
    def restore(self, state: Mapping[str, Any]) -> None: ...
