"""Preferences between answers, which a language model is tuned to follow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias, final

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor
from typing_extensions import override

from polytask.core.accounting import CUT, LeftOut
from polytask.core.batch import Fields, Inputs, Row
from polytask.core.errors import DataError, RecipeError
from polytask.core.features import Features
from polytask.core.prompts import LEARNED, Conversation, Turn
from polytask.core.texts import texts_in
from polytask.tasks.base import HeadContext, Task, tasks
from polytask.tasks.inputs import InputSpec
from polytask.tasks.labels import is_blank
from polytask.tasks.learned_head import LearnedHead
from polytask.tasks.losses import Loss
from polytask.tasks.predictions import Predictions
from polytask.tasks.preference_losses import dpo, ipo, kto, odds_ratio, simpo
from polytask.tasks.turns import answer_turns, read_turns

Kind: TypeAlias = Literal["dpo", "ipo", "orpo", "simpo", "kto"]

LOGS, TOKENS = "logs_bP", "tokens_bP"
"""Scores of the head: the log-probability of each answer, and its number of tokens."""

_BETAS: Mapping[Kind, float] = {"dpo": 0.1, "ipo": 0.1, "orpo": 0.1, "simpo": 2.0, "kto": 0.1}
"""Default strengths, those of the papers."""


_LIKED = {
    **dict.fromkeys(("true", "1", "1.0", "yes"), True),
    **dict.fromkeys(("false", "0", "0.0", "no"), False),
}


@final
class PreferenceHead(LearnedHead):
    """Scores the answers of a row by the language model: ``{logs_bP, tokens_bP}``."""

    @override
    def forward(self, features: Features, *context: HeadContext) -> dict[str, Tensor]:
        (rows,) = context
        costs = self.text_costs(features, rows)
        return {LOGS: -costs.nats_bP, TOKENS: costs.tokens_bP.clamp(min=1)}


@final
@tasks.register("preference")
class Preference(Task):
    """Which of two answers to a prompt people prefer; a causal language model learns to prefer it too.

    Columns are a prompt and the chosen and the rejected answer, each a text or a list of turns; or
    the two alone, as whole conversations with a common beginning. For ``kto`` they are a prompt and an
    answer, with a target that says whether it is liked.

    ``dpo``, ``ipo`` and ``kto`` compare with the model before training, whose log-probabilities
    are computed once, before the first step.

    A prediction holds the mean log-probability per token of each answer.

    :param loss: ``dpo``, ``ipo``, ``simpo``, ``orpo``, or ``kto`` for answers that are liked or not.
    :param beta: How much the model may move away from the one before training, the smaller the more;
        for ``orpo`` the weight of the odds ratio beside the likelihood of the chosen answer. By
        default 0.1; 2 for ``simpo``.
    :param margin: Gamma of ``simpo``.
    :param label_smoothing: For ``dpo``: the share of pairs that are the wrong way round.
    :param target: For ``kto``: the column that is true, 1 or yes for a liked answer.
    """

    label_type = "preference"
    inputs = InputSpec(
        ("prompt", "chosen", "rejected"),
        rows="prompts",
        json=("prompt", "chosen", "rejected", "completion"),
    )

    def __init__(
        self,
        name: str,
        /,
        *,
        loss: Kind = "dpo",
        beta: PositiveFloat | None = None,
        margin: NonNegativeFloat = 1.0,
        label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0,
        target: str = "label",
        **options: Any,
    ) -> None:
        super().__init__(name, target=target, **options)
        self._loss: Kind = loss
        self._beta = _BETAS[loss] if beta is None else beta
        self._margin, self._smoothing = margin, label_smoothing

    @property
    @override
    def default_metrics(self) -> Sequence[str | dict[str, Any]]:
        return ("liked_auc",) if self._is_single else ("preference_accuracy", "chosen_likelihood")

    @property
    @override
    def reads_start(self) -> bool:
        return self._loss in ("dpo", "ipo", "kto")

    @property
    @override
    def couples_rows(self) -> bool:
        return self._loss == "kto"

    @property
    def _is_single(self) -> bool:
        """Whether a row has one answer, liked or not."""
        return self._loss == "kto"

    @override
    def set_columns(self, columns: Sequence[str]) -> None:
        super().set_columns(columns)
        if not self._is_single:
            self.target_column = columns[-2]  # a pair is its own label
        expected = {2} if self._is_single else {2, 3}
        if len(columns) not in expected:
            wanted = "a prompt and an answer" if self._is_single else "a prompt and two answers"
            raise RecipeError(
                [f"tasks.{self.name}.input: expected {wanted}, found {', '.join(columns)}."]
            )

    @override
    def reference(self, row: Row) -> bool | None:
        if not self._is_single:
            if any(is_blank(row[column]) for column in self.input_columns):
                return None
            self._conversations([row[column] for column in self.input_columns])
            return True
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
    def texts(self, row: Row, fields: Fields, *, training: bool) -> list[Fields]:
        return [(Conversation(turns, (), "last"),) for turns in self._conversations(fields)]

    @override
    def fit(self, references: Iterable[bool]) -> None:
        known = {*references}
        wanted = {True, False} if self._is_single else {True}
        if known != wanted:
            shown = "liked and disliked answers" if self._is_single else "a pair of answers"
            raise DataError(f"task {self.name}: expected training rows with {shown}, found none")

    @override
    def encode(self, reference: bool, inputs: Inputs) -> list[float] | LeftOut:
        if not all(any(text[LEARNED]) for text in texts_in(inputs)):
            return LeftOut(CUT)
        return [float(reference)]

    @override
    def start_targets(self, targets: Sequence[Any], scores: dict[str, Tensor]) -> list[Any]:
        logs = scores[LOGS].tolist()
        return [own and [*own, *found] for own, found in zip(targets, logs, strict=True)]

    @override
    def collate(self, targets: Sequence[list[float]]) -> Tensor:
        return torch.tensor(targets, dtype=torch.float)

    @override
    def label_counts(self, values: Tensor, scores: Any | None = None) -> Tensor:
        return torch.ones(len(values), dtype=torch.long, device=values.device)

    @override
    def head(self, width: int) -> PreferenceHead:
        return PreferenceHead(self.name, width)

    @override
    def loss(self, scores: dict[str, Tensor], values: Tensor) -> Loss:
        logs_bP, means_bP = scores[LOGS], scores[LOGS] / scores[TOKENS]
        if self._loss == "kto":
            ratio_b = logs_bP[:, 0] - values[:, 1]
            return kto(ratio_b, values[:, 0], self._beta).mean()
        if self._loss == "orpo":
            ratio = odds_ratio(means_bP[:, 0], means_bP[:, 1]).mean()
            return {"likelihood": -means_bP[:, 0].mean(), "odds_ratio": self._beta * ratio}
        if self._loss == "simpo":
            return simpo(means_bP[:, 0] - means_bP[:, 1], self._beta, self._margin).mean()
        margin_b, start_b = logs_bP[:, 0] - logs_bP[:, 1], values[:, 1] - values[:, 2]
        if self._loss == "ipo":
            return ipo(margin_b, start_b, self._beta).mean()
        return dpo(margin_b, start_b, self._beta, self._smoothing).mean()

    @override
    def decode(self, scores: dict[str, Tensor], rows: Sequence[Fields]) -> Predictions:
        """Return the mean log-probability per token of each answer."""
        means_bP = (scores[LOGS] / scores[TOKENS]).float()
        names = ("answer",) if self._is_single else ("chosen", "rejected")
        return Predictions([dict(zip(names, row, strict=True)) for row in means_bP.tolist()])

    @override
    def state(self) -> dict[str, Any]:
        return {}

    @override
    def restore(self, state: Mapping[str, Any]) -> None: ...

    def _conversations(self, fields: Sequence[Any]) -> list[list[Turn]]:
        """Return the prompt with each answer.

        :raises DataError: If one is missing, or both answers are equal.
        """
        names = self.input_columns
        answers = 1 if self._is_single else 2
        prompt = dict(zip(names[:-answers], fields[:-answers], strict=True))
        found = []
        for name, value in zip(names[-answers:], fields[-answers:], strict=True):
            if is_blank(value):
                raise DataError(f"task {self.name}: column {name!r} is empty, expected an answer")
            try:
                turns = read_turns({**prompt, name: answer_turns(value)})
            except DataError as error:
                raise DataError(f"task {self.name}: column {name!r}: {error}") from None
            if turns[-1]["role"] != "assistant" or len(turns) == 1:
                shown = f"found {turns[-1]['role']} at the end of {len(turns)} turns"
                raise DataError(f"task {self.name}: column {name!r}: {shown}, expected an answer")
            found.append(turns)
        if found[0] == found[-1] and not self._is_single:
            raise DataError(f"task {self.name}: {' and '.join(names[-2:])} are equal")
        return found
