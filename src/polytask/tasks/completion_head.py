"""The head of instructions: costs of completions, of options, or a completion that it writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import final

from torch import Tensor, nn
from typing_extensions import override

from polytask.core.capabilities import Causal
from polytask.core.errors import RecipeError
from polytask.core.features import Features
from polytask.core.padding import pad
from polytask.core.prompts import Detokenizer
from polytask.tasks.base import HeadContext
from polytask.tasks.candidates import SCORES, THERE
from polytask.tasks.incremental_decoding import Remembered, Rereading, at, remembers
from polytask.tasks.language_head import KEPT, NATS, LanguageHead
from polytask.tasks.learned_head import LearnedHead
from polytask.tasks.search import Search

WRITTEN, NO_BYTE = "written_bZ", -1
"""The key of written texts, as UTF-8 bytes, and the value that pads shorter texts."""


@final
class CompletionHead(LearnedHead):
    """Predicts the tokens of completions from those before; without targets, options or a text.

    :param task: Name of the task, for messages.
    :param width: D of the features.
    :param search: How a text is written; its end and padding ids are ids of the encoder.
    :param ranks: Whether the texts of a row are options to compare, else a prompt to continue.
    :param per_token: Whether options are compared by their mean cost, not by the sum.
    :param is_chat: Whether a completion is a turn of a conversation, and ends with its mark.
    """

    def __init__(
        self,
        task: str,
        width: int,
        search: Search,
        *,
        ranks: bool,
        per_token: bool,
        is_chat: bool = False,
    ) -> None:
        super().__init__(task, width)
        self._search, self._ranks, self._per_token = search, ranks, per_token
        self._is_chat = is_chat

    @override
    def bind(self, encoder: nn.Module) -> None:
        super().bind(encoder)
        if not isinstance(encoder, Causal):
            raise RecipeError(
                [
                    f"tasks.{self.task}: continues texts, which this encoder does not read. "
                    "Choose encoder.kind: huggingface, or transformer with causal: true."
                ]
            )
        self._require_room(encoder.detokenizer)
        tokens = encoder.detokenizer
        self._search = replace(self._search, end=tokens.turn_end if self._is_chat else tokens.end)
        self._text = encoder.detokenizer.text
        self._kv_cache = encoder.kv_cache

    @override
    def forward(self, features: Features, *context: HeadContext) -> dict[str, Tensor]:
        (rows,) = context
        if rows.values is not None:
            return self.weighted_costs(features, rows)
        return self._compare(features, rows) if self._ranks else self._write(rows)

    def _compare(self, features: Features, rows: HeadContext) -> dict[str, Tensor]:
        """Return the log-probability of every option after its prompt: ``{scores_bP, there_bP}``."""
        there_bP, apart = features.segment_mask_BP, features.per_segment
        there_N = there_bP.flatten()
        own = Features(apart.tokens_BLD[there_N], apart.mask_BL[there_N])
        costs = LanguageHead.forward(self, own, rows)
        nats_N = costs[NATS].sum(1)
        if self._per_token:
            nats_N = nats_N / costs[KEPT].sum(1).clamp(min=1)
        scores_bP = nats_N.new_zeros(there_bP.shape).masked_scatter(there_bP, -nats_N)
        return {SCORES: scores_bP, THERE: there_bP}

    def _write(self, rows: HeadContext) -> dict[str, Tensor]:
        """Return a completion for every prompt: ``{written_bZ}``."""
        if remembers(rows.encode, rows.inputs, self._kv_cache):
            with self._kv_cache() as memory:
                assert memory is not None
                ids_bT = self._generate(rows, Remembered(rows.encode, self.logits, memory))
        else:
            ids_bT = self._generate(rows, Rereading(rows.encode, self.logits))
        texts = [[*self._text(self._to_end(ids)).encode()] for ids in ids_bT.tolist()]
        return {WRITTEN: pad(texts, NO_BYTE).to(ids_bT.device)}

    def _generate(self, rows: HeadContext, step: Remembered | Rereading) -> Tensor:
        ids_bL, lengths_b = rows.inputs["ids"], rows.inputs["lengths"]
        last_b = at(ids_bL.unsqueeze(-1), lengths_b - 1).squeeze(-1)
        return self._search(step, last_b, step.begin(rows.inputs))

    def _to_end(self, ids: Sequence[int]) -> Sequence[int]:
        return ids[: ids.index(self._search.end)] if self._search.end in ids else ids

    def _require_room(self, detokenizer: Detokenizer) -> None:
        max_tokens = self._search.max_tokens
        if not self._ranks and max_tokens >= detokenizer.max_length:
            raise RecipeError(
                [
                    f"tasks.{self.task}.max_tokens: {max_tokens} tokens to write leave no room for a "
                    f"prompt in encoder.max_length, {detokenizer.max_length}. Lower the one or raise "
                    "the other."
                ]
            )
