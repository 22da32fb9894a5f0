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


class Detokenizer(Protocol):
    """Converts tokens to text."""

    end: int
    """The id that ends a text."""

    max_length: int
    """Most tokens of a row."""

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of some tokens, without marks."""


class KVCache(Protocol):
    """The keys and values of tokens that an encoder has read."""

    def pick(self, rows_n: Tensor) -> None:
        """Keep these rows in this order; a row may occur several times."""
