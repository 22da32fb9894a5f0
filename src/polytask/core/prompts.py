"""Prompts of language models, and their completions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

COMPLETION_LENGTH = "said"
"""The input that is the number of tokens of a row's completion, which come last; 0 without one."""


@dataclass(frozen=True)
class Prompt:
    """A text and how it goes on.

    :param text: Where it is too long, its end is kept.
    :param completion: What follows it, its end marked; None where that is to be written.
    :param room: How many tokens to leave for what is to be written.
    """

    text: str
    completion: str | None = None
    room: int = 0

    @property
    def whole(self) -> str:
        """All of it."""
        return self.text + (self.completion or "")


class Detokenizer(Protocol):
    """Tokens as text."""

    end: int
    """The id that ends a text."""

    max_length: int
    """Most tokens of a row."""

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of some tokens, without marks."""


class KVCache(Protocol):
    """The keys and values of tokens that an encoder has read."""

    def pick(self, rows_n: Tensor) -> None:
        """Go on from these of its rows, in this order; one may be there several times."""
