"""Base of tasks on answers that people have judged, which a causal language model learns to follow."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

import torch
from torch import Tensor
from typing_extensions import override

from polytask.core.accounting import CUT, LeftOut
from polytask.core.batch import Fields, Inputs, Row
from polytask.core.errors import DataError, RecipeError
from polytask.core.features import Features
from polytask.core.prompts import LEARNED, Conversation, Turn
from polytask.core.texts import texts_in
from polytask.tasks.base import HeadContext, Task
from polytask.tasks.inputs import InputSpec
from polytask.tasks.labels import is_blank
from polytask.tasks.language_head import KEPT, NATS
from polytask.tasks.learned_head import LearnedHead
from polytask.tasks.turns import answer_turns, read_turns

LOGS, TOKENS = "logs_bP", "tokens_bP"
"""Scores of the head: the log-probability of each answer, and its number of tokens."""


@final
class AnswersHead(LearnedHead):
    """Scores the answers of a row by the language model: ``{logs_bP, tokens_bP}``.

    :param task: Name of the task, for messages.
    :param width: D of the features.
    :param answers: The number of answers of a row, P.
    """

    def __init__(self, task: str, width: int, answers: int) -> None:
        super().__init__(task, width)
        self._answers = answers

    @override
    def forward(self, features: Features, *context: HeadContext) -> dict[str, Tensor]:
        (rows,) = context
        # Rows of other tasks in the batch may have more texts.
        tokens_bPLD, mask_bPL = (
            one.unflatten(0, (-1, features.segments))[:, : self._answers]
            for one in (features.per_segment.tokens_BLD, features.per_segment.mask_BL)
        )
        own = Features(tokens_bPLD.flatten(0, 1), mask_bPL.flatten(0, 1))
        costs = super().forward(own, rows)
        nats_bP, tokens_bP = (
            costs[key].sum(1).unflatten(0, (-1, self._answers)) for key in (NATS, KEPT)
        )
        return {LOGS: -nats_bP, TOKENS: tokens_bP.clamp(min=1)}


class ComparedAnswers(Task, ABC):
    """Answers to a prompt, whose log-probabilities are compared.

    The last input columns are the answers, those before the prompt. Each is a text or a list of turns.
    """

    inputs = InputSpec(
        ("prompt", "chosen", "rejected"),
        rows="prompts",
        json=("prompt", "chosen", "rejected", "completion"),
    )
    answers: ClassVar[int]
    """The number of answers of a row, P."""

    @override
    def texts(self, row: Row, fields: Fields, *, training: bool) -> list[Fields]:
        answers = self.conversations(self.columns_of(row, fields))
        return [(Conversation(turns, (), "last"),) for turns in answers]

    def columns_of(self, row: Row, fields: Fields) -> Sequence[Any]:
        """Return the prompt of a row, if it has a column, and its answers."""
        return fields

    @override
    def encode(self, reference: bool, inputs: Inputs) -> list[float] | LeftOut:
        if not all(any(text[LEARNED]) for text in texts_in(inputs)):
            return LeftOut(CUT)
        return [float(reference), *[0.0] * self.answers]

    @override
    def start_targets(self, targets: Sequence[Any], scores: dict[str, Tensor]) -> list[Any]:
        logs = scores[LOGS].tolist()
        return [[own[0], *found] for own, found in zip(targets, logs, strict=True)]

    @override
    def collate(self, targets: Sequence[list[float]]) -> Tensor:
        """Return the judgement of each row, and the log-probabilities before training, (b, 1 + P)."""
        return torch.tensor(targets, dtype=torch.float)

    @override
    def head(self, width: int) -> AnswersHead:
        return AnswersHead(self.name, width, self.answers)

    @override
    def state(self) -> dict[str, Any]:
        return {}

    @override
    def restore(self, state: Mapping[str, Any]) -> None: ...

    def require_columns(self, allowed: Sequence[int], expected: str) -> None:
        """Refuse another number of input columns.

        :raises RecipeError: If it is not allowed.
        """
        if len(self.input_columns) not in allowed:
            found = ", ".join(self.input_columns)
            raise RecipeError([f"tasks.{self.name}.input: expected {expected}, found {found}."])

    def conversations(self, columns: Sequence[Any]) -> list[list[Turn]]:
        """Return the prompt with each answer.

        :param columns: As ``columns_of`` returns them.
        :raises DataError: If one is missing, or both answers are equal.
        """
        prompt = dict(zip(self.input_columns, columns[: -self.answers], strict=False))
        found = []
        for name, value in zip(self.answer_names, columns[-self.answers :], strict=True):
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
        if self.answers > 1 and found[0] == found[1]:
            raise DataError(f"task {self.name}: {' and '.join(self.answer_names)} are equal")
        return found

    @property
    def answer_names(self) -> Sequence[str]:
        """The columns of the answers, for messages."""
        return self.input_columns[-self.answers :]
