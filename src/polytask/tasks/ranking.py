"""An order of candidates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from torch import Tensor
from typing_extensions import override

from polytask.core.accounting import LeftOut
from polytask.core.batch import Fields, Inputs, Row
from polytask.core.errors import DataError
from polytask.core.texts import texts_in
from polytask.tasks.base import tasks
from polytask.tasks.candidates import (
    TextsHead,
    collate_numbers,
    kept_scores,
    list_items,
    pairwise_losses,
    relevance,
    shares,
    softmax_losses,
)
from polytask.tasks.inputs import InputSpec
from polytask.tasks.predictions import Predictions
from polytask.tasks.sentence import SentenceTask

_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "softmax": softmax_losses,
    "pairwise": pairwise_losses,
}


@tasks.register("ranking")
class Ranking(SentenceTask):
    """Candidates, listed by the last input column, ordered by their relevance.

    The column holds a number of 0 or more for every candidate. The other columns, such as a query,
    are encoded with every candidate, one pass each (Nogueira and Cho, "Passage Re-ranking with
    BERT", 2019. https://arxiv.org/abs/1901.04085). Rows whose candidates are all as relevant are
    not trained on.

    :param loss: ``softmax`` over the candidates of a row, or ``pairwise``: logistic, over pairs.
    """

    label_type = "ranking"
    inputs = InputSpec(read_as="each")

    def __init__(
        self, name: str, /, *, loss: Literal["softmax", "pairwise"] = "softmax", **options: Any
    ) -> None:
        super().__init__(name, **options)
        self._loss = _LOSSES[loss]

    @property
    @override
    def default_metrics(self) -> Sequence[str | dict[str, Any]]:
        return ("ndcg", "mrr", "map")

    @property
    @override
    def outputs(self) -> int:
        return 1

    @override
    def reference(self, row: Row) -> list[float] | None:
        candidates = row.get(self.input_columns[-1]) if self.input_columns else None
        return relevance(self.name, self.target_column, self._column(row), candidates)

    @override
    def fit(self, references: Iterable[list[float]]) -> None:
        if not any(True for _ in references):
            raise DataError(
                f"task {self.name}: no training row has relevance in column {self.target_column!r}"
            )

    @override
    def encode(self, reference: list[float], inputs: Inputs) -> list[float] | LeftOut:
        candidates = len(texts_in(inputs))
        if candidates != len(reference):
            raise DataError(
                f"task {self.name}: {len(reference)} numbers in column {self.target_column!r}, but "
                f"{candidates} candidates"
            )
        if min(reference) == max(reference):
            return LeftOut("all candidates equally relevant")
        return reference

    @override
    def collate(self, targets: Sequence[list[float]]) -> Tensor:
        return collate_numbers(targets)

    @override
    def head(self, width: int) -> TextsHead:
        return TextsHead(width, self.pool, self.dropout, self.hidden)

    @override
    def loss(self, scores: dict[str, Tensor], values: Tensor) -> Tensor:
        return self._loss(kept_scores(scores, values.shape[1]), values).mean()

    @override
    def decode(self, scores: dict[str, Tensor], rows: Sequence[Fields]) -> Predictions:
        """Return the scores of a row's candidates; the highest comes first.

        The confidence of a candidate is its probability to be the most relevant, by softmax.
        """
        return Predictions(list_items(scores), confidences=shares(scores))

    @override
    def state(self) -> dict[str, Any]:
        return {}

    @override
    def restore(self, state: Mapping[str, Any]) -> None: ...
