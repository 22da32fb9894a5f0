"""Base of tasks whose answer is a text that a causal language model writes, or an option it ranks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor
from typing_extensions import override

from polytask.core.accounting import CUT, LeftOut
from polytask.core.batch import Fields, Inputs
from polytask.core.prompts import LEARNED
from polytask.tasks.base import Task
from polytask.tasks.candidates import SCORES, kept_scores, shares
from polytask.tasks.completion_head import NO_BYTE, WRITTEN, CompletionHead
from polytask.tasks.inputs import InputSpec
from polytask.tasks.language_head import NATS
from polytask.tasks.learned_head import WEIGHTS
from polytask.tasks.predictions import Predictions
from polytask.tasks.search import Search


class CompletionTask(Task, ABC):
    """A text that continues a prompt.

    Only what is to be written, and its end, is learned. The model answers with what it writes; or,
    where there are options, with the most probable one (Brown et al., "Language Models are Few-Shot
    Learners", NeurIPS 2020, section 2.4). https://arxiv.org/abs/2005.14165

    :param per_token: Compare options by the mean log-probability of their tokens, not by the sum.
    :param max_tokens: Most tokens that are written.
    :param beam: How many texts are followed at a time; 1 takes the best token each time.
    :param temperature: Above 0 draws tokens instead, the higher the more freely.
    """

    label_type = "text"
    inputs = InputSpec(rows="prompts")
    is_chat: ClassVar[bool] = False
    """Whether the completion is a turn of a conversation."""

    def __init__(
        self,
        name: str,
        /,
        *,
        per_token: bool = False,
        max_tokens: PositiveInt = 64,
        beam: PositiveInt = 1,
        temperature: NonNegativeFloat = 0.0,
        **others: Any,
    ) -> None:
        super().__init__(name, **others)
        self._per_token, self.room = per_token, max_tokens
        self._search = Search(max_tokens, end=0, padding=0, beam=beam, temperature=temperature)

    @property
    @abstractmethod
    def ranks(self) -> bool:
        """Whether there are options to choose from."""

    @abstractmethod
    def option_answer(self, option: int, fields: Fields) -> str:
        """Return the answer that one option of a row gives.

        :param fields: The input fields of the row.
        """

    def answer_in(self, completion: str) -> str:
        """Return the answer that a completion holds; empty if it holds none."""
        return completion.strip()

    @property
    @override
    def default_metrics(self) -> Sequence[str | dict[str, Any]]:
        return ("text_match",)

    @override
    def encode(self, reference: str, inputs: Inputs) -> float | LeftOut:
        return float(sum(inputs[LEARNED])) or LeftOut(CUT)

    @override
    def collate(self, targets: Sequence[float]) -> Tensor:
        return torch.tensor(targets, dtype=torch.float)

    @override
    def label_counts(self, values: Tensor, scores: dict[str, Tensor] | None = None) -> Tensor:
        return values if scores is None else scores[WEIGHTS].sum(1)

    @override
    def head(self, width: int) -> CompletionHead:
        return CompletionHead(
            self.name,
            width,
            self._search,
            ranks=self.ranks,
            per_token=self._per_token,
            is_chat=self.is_chat,
        )

    @property
    @override
    def head_shape(self) -> dict[str, Any]:
        own = {"ranks": self.ranks, "per_token": self._per_token, "search": self._search}
        return {**super().head_shape, **own}

    @override
    def loss(self, scores: dict[str, Tensor], values: Tensor) -> Tensor:
        weights_bK = scores[WEIGHTS]
        tiny = torch.finfo(weights_bK.dtype).tiny
        return (scores[NATS] * weights_bK).sum() / weights_bK.sum().clamp(min=tiny)

    @override
    def decode(self, scores: dict[str, Tensor], rows: Sequence[Fields]) -> Predictions:
        """Return the answers in written texts, or in the most probable options."""
        if SCORES in scores:
            best_b = kept_scores(scores, scores[SCORES].shape[1]).argmax(1).tolist()
            answers = [*map(self.option_answer, best_b, rows)]
            return Predictions(answers, confidences=[max(chances) for chances in shares(scores)])
        written = (bytes(b for b in row if b != NO_BYTE) for row in scores[WRITTEN].tolist())
        return Predictions([self.answer_in(text.decode()) for text in written])

    @override
    def scorer_lines(
        self, references: Sequence[Any], predictions: Sequence[Any], fields: Sequence[Fields]
    ) -> list[str]:
        """Return one answer per line, white space within it as one space each."""
        return [" ".join(prediction.split()) for prediction in predictions]

    @override
    def state(self) -> dict[str, Any]:
        return {}

    @override
    def restore(self, state: Mapping[str, Any]) -> None: ...
