"""Optional interfaces of encoders, checked by ``isinstance``.

Image encoders have none of them; most text encoders have a ``TokenTable``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from torch import nn

from polytask.core.prompts import Detokenizer, KVCache


class TokenTable(ABC):
    """An encoder with a table of token vectors, indexed by its input ``ids``."""

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
        """The ids of tokens that do not belong to a text: padding, separators."""
        return ()

    def output_scores(self) -> nn.Module | None:
        """Return how a named causal model scores tokens from features, (n, D) to (n, V).

        :return: None if that is a product with its output vectors, or with its embedding.
        """
        return None

    def output_vectors(self) -> nn.Parameter | None:
        """Return a named model's output vectors of tokens, if they differ from its embedding."""
        return None


class Causal(ABC):
    """An encoder with which heads can generate texts, token by token."""

    @property
    @abstractmethod
    def detokenizer(self) -> Detokenizer:
        """The tokens of a ``Prompt`` as text."""

    @property
    def reads_forward(self) -> bool:
        """Whether the features of a token depend on it and the tokens before it alone."""
        return False

    @property
    def packed_length(self) -> int | None:
        """Most tokens of a packed sequence; None if texts are not packed."""
        return None

    def kv_cache(self) -> AbstractContextManager[KVCache | None]:
        """Return a context in which each batch continues the rows read before.

        :return: A context that gives None if the encoder has to read everything again.
        """
        return nullcontext()


class Pretrained(ABC):
    """An encoder that may start from a named model, so that frozen weights need not be stored."""

    pretrained_name: str | None = None
    """The named model of the initial weights; None if they were random."""

    @abstractmethod
    def load_pretrained(self) -> None:
        """Load the weights that ``fit`` took from a named model, if any, into a restored encoder.

        :raises PolytaskError: If the model does not exist or has other weights.
        """


def token_table(encoder: nn.Module) -> nn.Embedding | None:
    """Return the table of token vectors of an encoder; None if it has none."""
    return encoder.embedding if isinstance(encoder, TokenTable) else None


def get_pretrained_name(encoder: nn.Module) -> str | None:
    """Return the named model from which an encoder started; None if it started from scratch."""
    return encoder.pretrained_name if isinstance(encoder, Pretrained) else None
