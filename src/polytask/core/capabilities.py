"""Abilities that some encoders have, and others ask for by ``isinstance``.

An encoder of images has none of them; most encoders of texts have a ``TokenTable``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from torch import nn

from polytask.core.prompts import Detokenizer, KVCache


class TokenTable(ABC):
    """An encoder that looks up the vectors of tokens in a table; its input ``ids`` are places there."""

    @property
    @abstractmethod
    def embedding(self) -> nn.Embedding | None:
        """The table of token vectors; None for models of unusual shapes, which hide it."""

    @property
    def max_tokens(self) -> int | None:
        """Most tokens that ``forward`` has positions for; None if there is no limit."""
        return None

    @property
    def mask_id(self) -> int:
        """The id of a hidden token; the id of padding unless there is one."""
        return 0

    @property
    def special_ids(self) -> Sequence[int]:
        """The ids of tokens that are no part of a text: padding, separators."""
        return ()

    def output_vectors(self) -> nn.Parameter | None:
        """Return the vectors that a named model scores tokens with, if they are not its embedding."""
        return None


class Causal(ABC):
    """An encoder that heads may write texts with, token by token."""

    @property
    @abstractmethod
    def detokenizer(self) -> Detokenizer:
        """The tokens of a ``Prompt`` as text."""

    @property
    def packed_length(self) -> int | None:
        """Most tokens of a sequence that texts are packed into; None where each is a row."""
        return None

    def kv_cache(self) -> AbstractContextManager[KVCache | None]:
        """Let each batch continue, row by row, what was read before, while the context lasts.

        :return: A context that gives None where an encoder has to read everything again.
        """
        return nullcontext()


class Pretrained(ABC):
    """An encoder that may begin as a named model, so that frozen weights need not be stored."""

    pretrained_name: str | None = None
    """The named model that its weights are from; None if it was trained from scratch."""

    @abstractmethod
    def load_pretrained(self) -> None:
        """Give a restored encoder the weights that ``fit`` took from a named model, if any.

        :raises PolytaskError: If there is no such model, or it has other weights.
        """


def token_table(encoder: nn.Module) -> nn.Embedding | None:
    """Return the table of token vectors of an encoder; None if it has none."""
    return encoder.embedding if isinstance(encoder, TokenTable) else None


def get_pretrained_name(encoder: nn.Module) -> str | None:
    """Return the named model that an encoder began as; None if it was trained from scratch."""
    return encoder.pretrained_name if isinstance(encoder, Pretrained) else None
