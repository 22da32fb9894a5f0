"""Answers that people like or do not like, which a language model is tuned to follow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, final

from pydantic import PositiveFloat
from torch import Tensor
from typing_extensions import override

from polytask.core.batch import Fields, Row
from polytask.core.errors import DataError
from polytask.tasks.base import tasks
from polytask.tasks.compared_answers import LOGS, TOKENS, ComparedAnswers
from polytask.tasks.labels import is_blank
from polytask.tasks.predictions import Predictions
from polytask.tasks.preference_losses import kto

_LIKED = {
    **dict.fromkeys(("true", "1", "1.0", "yes"), True),
    **dict.fromkeys(("false", "0", "0.0", "no"), False),
}


@final
@tasks.register("approval")
class Approval(ComparedAnswers):
    """Whether people like an answer to a prompt; a causal language model learns to write such ones.

    Columns are a prompt and an answer, each a text or a list of turns. The loss is
    Kahneman-Tversky optimisation (KTO). It compares with the model before training, whose
    log-probabilities are computed once, before the first step. A prediction is the mean
    log-probability per token of the answer.

    :param beta: How much the model may move away from the one before training, the smaller the more.
    :param target: The column that is true, 1 or yes for answers that are liked.
    """

    label_type = "approval"
    inputs = replace(ComparedAnswers.inputs, columns=("prompt", "completion"))
    answers = 1
    reads_start = True
    couples_rows = True

    def __init__(
        self, name: str, /, *, beta: PositiveFloat = 0.1, target: str = "label", **options: Any
    ) -> None:
        super().__init__(name, target=target, **options)
        self._beta = beta

    @property
    @override
    def default_metrics(self) -> Sequence[str | dict[str, Any]]:
        return ("liked_auc",)

    @override
    def set_columns(self, columns: Sequence[str]) -> None:
        super().set_columns(columns)
        self.require_columns((1, 2), "a prompt and an answer")

    @override
    def reference(self, row: Row) -> bool | None:
        value = self._column(row)
        if is_blank(value):
            return None
        found = str(value).strip().lower()
        if found not in _LIKED:
            raise DataError(
                f"task {self.name}: column {self.target_column!r}: found {value!r:.80}, expected "
                "true or false, 1 or 0, yes or no"
            )
        return _LIKED[found]

    @override
    def fit(self, references: Iterable[bool]) -> None:
        known = {*references}
        if not known:
            raise DataError(
                f"task {self.name}: no training row has a label in column {self.target_column!r}"
            )
        if len(known) == 1:
            raise DataError(
                f"task {self.name}: column {self.target_column!r}: all answers of training rows are "
                f"{'liked' if True in known else 'not liked'}, expected some of both"
            )

    @override
    def loss(self, scores: dict[str, Tensor], values: Tensor) -> Tensor:
        return kto(scores[LOGS][:, 0] - values[:, 1], values[:, 0], self._beta).mean()

    @override
    def decode(self, scores: dict[str, Tensor], rows: Sequence[Fields]) -> Predictions:
        """Return the mean log-probability per token of each answer."""
        return Predictions((scores[LOGS] / scores[TOKENS])[:, 0].float().tolist())
