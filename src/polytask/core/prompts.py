"""Prompts of language models, and their completions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from torch import Tensor

LEARNED = "learned"
"""The input that is the weight of each token in the loss; 0 for tokens that are only read."""

Turn: TypeAlias = Mapping[str, Any]
"""A turn of a conversation as chat templates read it: ``role``, ``content`` and the like."""

WEIGHT = "weight"
"""The key of the weight of an assistant turn in the loss; 1 without it."""


@dataclass(frozen=True)
class Prompt:
    """A text and its completion.

    :param text: The prompt. If it is too long, its end is kept.
    :param completion: The completion with an end mark; None if it is to be generated.
    :param room: Number of tokens to leave for a generated completion.
    """

    text: str
    completion: str | None = None
    room: int = 0

    @property
    def whole(self) -> str:
        """The prompt followed by its completion."""
        return self.text + (self.completion or "")


@dataclass(frozen=True)
class Conversation:
    """Turns that a chat template renders.

    :param turns: The turns, oldest first.
    :param tools: The tools that the assistant may call, as JSON schemas.
    :param learned: The assistant turns that are learned: all, or the last; ``none`` if the next one
        is to be generated.
    :param room: Number of tokens to leave for a generated turn.
    """

    turns: Sequence[Turn]
    tools: Sequence[Mapping[str, Any]] = ()
    learned: Literal["all", "last", "none"] = "all"
    room: int = 0

    @property
    def whole(self) -> str:
        """The texts of the turns, for a tokenizer that is trained on them."""
        return "\n".join(turn_text(turn) for turn in self.turns)


def turn_text(turn: Turn) -> str:
    """Return the text of a turn; several parts are joined by line breaks."""
    content = turn.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if isinstance(part.get("text"), str))


class Detokenizer(Protocol):
    """Converts tokens to text."""

    end: int
    """The id that ends a text."""

    max_length: int
    """Most tokens of a row."""

    @property
    def turn_end(self) -> int:
        """The id that ends an assistant turn."""

    def text(self, ids: Sequence[int], *, marks: bool = False) -> str:
        """Return the text of some tokens.

        :param marks: Keep special tokens, such as those that end turns.
        """


class KVCache(Protocol):
    """The keys and values of tokens that an encoder has read."""

    def pick(self, rows_n: Tensor) -> None:
        """Keep these rows in this order; a row may occur several times."""
