"""Instructions: a prompt made of a row, and the completion that is wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor
from typing_extensions import override

from polytask.core.accounting import CUT, LeftOut
from polytask.core.batch import Fields, Inputs
from polytask.core.prompts import COMPLETION_LENGTH
from polytask.tasks.base import tasks
from polytask.tasks.candidates import SCORES, kept_scores, shares
from polytask.tasks.completion_head import NO_BYTE, WRITTEN, CompletionHead
from polytask.tasks.language_head import KEPT, NATS
from polytask.tasks.predictions import Predictions
from polytask.tasks.prompt_task import WordedTask
from polytask.tasks.search import Search


@final
@tasks.register("instruction")
class Instruction(WordedTask):
    """A text that follows a prompt, from a language model that reads from left to right.

    Only the tokens of completions, and their end, are learned. The model answers with what it writes
    after the prompt; or, where there are options, with the one that is most likely there (Brown et
    al., "Language Models are Few-Shot Learners", NeurIPS 2020, section 2.4).
    https://arxiv.org/abs/2005.14165

    :param per_token: Compare options by the mean log-probability of their tokens, not by the sum.
    :param max_tokens: Most tokens that are written.
    :param beam: How many texts are followed at a time; 1 takes the best token each time.
    :param temperature: Above 0 draws tokens instead, the higher the more freely.
    """

    label_type = "text"

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
    @override
    def default_metrics(self) -> Sequence[str | dict[str, Any]]:
        return ("text_match",)

    @override
    def encode(self, reference: str, inputs: Inputs) -> int | LeftOut:
        return inputs[COMPLETION_LENGTH] or LeftOut(CUT)

    @override
    def collate(self, targets: Sequence[int]) -> Tensor:
        return torch.tensor(targets)

    @override
    def label_counts(self, values: Tensor, scores: dict[str, Tensor] | None = None) -> Tensor:
        return values if scores is None else scores[KEPT].sum(1)

    @override
    def head(self, width: int) -> CompletionHead:
        return CompletionHead(
            self.name, width, self._search, ranks=self.ranks, per_token=self._per_token
        )

    @property
    @override
    def head_shape(self) -> dict[str, Any]:
        own = {"ranks": self.ranks, "per_token": self._per_token, "search": self._search}
        return {**super().head_shape, **own}

    @override
    def loss(self, scores: dict[str, Tensor], values: Tensor) -> Tensor:
        return scores[NATS].sum() / scores[KEPT].sum().clamp(min=1)

    @override
    def decode(self, scores: dict[str, Tensor], rows: Sequence[Fields]) -> Predictions:
        """Return the answers in written texts, or in the most likely options."""
        if SCORES in scores:
            best_b = kept_scores(scores, scores[SCORES].shape[1]).argmax(1).tolist()
            completions = map(self.completion_of, best_b, rows)
            confidences = [max(chances) for chances in shares(scores)]
            return Predictions([*map(self.answer_in, completions)], confidences=confidences)
        written = (bytes(b for b in row if b != NO_BYTE) for row in scores[WRITTEN].tolist())
        return Predictions([self.answer_in(text.decode()) for text in written])

    @override
    def state(self) -> dict[str, Any]:
        return {}

    @override
    def restore(self, state: Mapping[str, Any]) -> None: ...
