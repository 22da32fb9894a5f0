"""Preferences between two answers, which a language model is tuned to follow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias, final
from zlib import crc32

from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor
from typing_extensions import override

from polytask.core.batch import Fields, Row
from polytask.core.errors import DataError, RecipeError
from polytask.tasks.base import tasks
from polytask.tasks.compared_answers import LOGS, TOKENS, ComparedAnswers
from polytask.tasks.labels import is_blank, unknown_label
from polytask.tasks.losses import Loss
from polytask.tasks.predictions import Predictions
from polytask.tasks.preference_losses import dpo, ipo, odds_ratio, simpo

Kind: TypeAlias = Literal["dpo", "ipo", "orpo", "simpo"]

_BETAS: Mapping[Kind, float] = {"dpo": 0.1, "ipo": 0.1, "orpo": 0.1, "simpo": 2.0}
"""Default strengths, as in the papers."""


@final
@tasks.register("preference")
class Preference(ComparedAnswers):
    """Which of two answers to a prompt people prefer; a causal language model learns to prefer it too.

    Columns are a prompt, and the chosen and the rejected answer, each a text or a list of turns; or
    the two alone, as whole conversations.

    ``dpo`` and ``ipo`` compare with the model before training, whose log-probabilities are computed
    once, before the first step. A prediction holds the mean log-probability per token of each answer.

    :param loss: ``dpo``, ``ipo``, ``simpo`` or ``orpo``.
    :param beta: How much the model may move away from the one before training, the smaller the more;
        for ``orpo`` the weight of the odds ratio beside the likelihood of the chosen answer. By
        default 0.1; 2 for ``simpo``.
    :param margin: Gamma of ``simpo``.
    :param target: The column of the chosen answer, the last input column but one; with ``options``,
        another column, ``completion`` by default.
    :param options: Answers, where a row has a prompt and the chosen one alone: the rejected one is
        one of the others, always the same for a prompt.
    """

    label_type = "preference"
    answers = 2

    def __init__(
        self,
        name: str,
        /,
        *,
        loss: Kind = "dpo",
        beta: PositiveFloat | None = None,
        margin: NonNegativeFloat = 1.0,
        options: Annotated[list[str], Field(min_length=2)] | None = None,
        target: str | None = None,
        **others: Any,
    ) -> None:
        super().__init__(name, target=target or "", **others)
        self._loss: Kind = loss
        self._beta = _BETAS[loss] if beta is None else beta
        self._margin, self._options = margin, options

    @property
    @override
    def default_metrics(self) -> Sequence[str | dict[str, Any]]:
        return ("preference_accuracy", "chosen_nats")

    @property
    @override
    def reads_start(self) -> bool:
        return self._loss in ("dpo", "ipo")

    @override
    def set_columns(self, columns: Sequence[str]) -> None:
        super().set_columns(columns)
        if self._options is not None:
            self.require_columns((1,), "a prompt alone, as the answers are options")
            self.target_column = self.target_column or "completion"
            return
        self.require_columns((2, 3), "a prompt and two answers")
        chosen = columns[-2]  # a pair is its own label
        if self.target_column not in ("", chosen):
            raise RecipeError(
                [
                    f"tasks.{self.name}.target: found {self.target_column!r}, expected {chosen!r}, the "
                    "last input column but one: the chosen answer comes before the rejected one."
                ]
            )
        self.target_column = chosen

    @property
    @override
    def answer_names(self) -> Sequence[str]:
        return super().answer_names if self._options is None else (self.target_column, "options")

    @override
    def reference(self, row: Row) -> bool | None:
        if is_blank(self._column(row)):
            return None
        fields = tuple(row[column] for column in self.input_columns)
        self.conversations(self.columns_of(row, fields))
        return True

    @override
    def columns_of(self, row: Row, fields: Fields) -> Sequence[Any]:
        if self._options is None:
            return fields
        chosen = str(self._column(row) or "").strip()
        if chosen not in self._options:
            raise DataError(
                f"task {self.name}: column {self.target_column!r}: "
                f"{unknown_label(chosen, self._options)}"
            )
        others = [option for option in self._options if option != chosen]
        return (*fields, chosen, others[crc32(repr(fields).encode()) % len(others)])

    @override
    def fit(self, references: Iterable[bool]) -> None:
        if not any(True for _ in references):
            raise DataError(
                f"task {self.name}: no training row has an answer in column {self.target_column!r}"
            )

    @override
    def loss(self, scores: dict[str, Tensor], values: Tensor) -> Loss:
        logs_bP, means_bP = scores[LOGS], scores[LOGS] / scores[TOKENS]
        if self._loss == "orpo":
            ratio = odds_ratio(means_bP[:, 0], means_bP[:, 1]).mean()
            return {"likelihood": -means_bP[:, 0].mean(), "odds_ratio": self._beta * ratio}
        if self._loss == "simpo":
            return simpo(means_bP[:, 0] - means_bP[:, 1], self._beta, self._margin).mean()
        margin_b, start_b = logs_bP[:, 0] - logs_bP[:, 1], values[:, 1] - values[:, 2]
        if self._loss == "ipo":
            return ipo(margin_b, start_b, self._beta).mean()
        return dpo(margin_b, start_b, self._beta).mean()

    @override
    def decode(self, scores: dict[str, Tensor], rows: Sequence[Fields]) -> Predictions:
        """Return the mean log-probability per token of both answers."""
        means_bP = (scores[LOGS] / scores[TOKENS]).float()
        names = ("chosen", "rejected")
        return Predictions([dict(zip(names, row, strict=True)) for row in means_bP.tolist()])
