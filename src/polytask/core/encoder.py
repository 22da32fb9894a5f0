"""The interface of an encoder: rows in, features out.

An encoder has two halves. ``prepare`` turns the input fields of rows into numbers: pure, run once
per row before training, saved with the model. ``forward`` turns a collated batch of them into
features. Its life: constructed from options, then either ``fit`` on training rows or ``restore``
from a folder; only then do its parameters exist.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from polytask.core.batch import Fields, Inputs
from polytask.core.features import Features
from polytask.core.prompts import Memory, Writer


class Encoder(nn.Module, ABC):
    """Rows -> ``Features``. Text, image, audio, table.

    ``width`` is D of the features it gives; known after ``fit`` or ``restore``.
    """

    width: int
    pads: bool = True
    """Whether a row has the same features alone and padded. If not, rows of equal length are encoded
    together, and no others."""
    base: str | None = None
    """The named model whose parameters it was given, so that frozen ones need not be stored."""

    @classmethod
    def usual_rate(cls, options: Mapping[str, Any]) -> float:
        """The peak learning rate where a recipe says none.

        :param options: Those that the encoder is built with.
        """
        return 2e-3

    @abstractmethod
    def fit(self, rows: Iterable[Fields]) -> None:
        """Learn what ``prepare`` needs (a vocabulary, ...) and create the parameters.

        :param rows: Input fields of the training rows, in order; may be walked several times.
        """

    @abstractmethod
    def prepare(self, rows: Sequence[Fields]) -> list[Inputs]:
        """Turn input fields into numbers: one dict of numbers and lists of numbers per row.

        A field is a text, or a list of words when it was segmented before; two fields are a pair.

        :raises DataError: If a field is not of a kind that this encoder reads.
        """

    @abstractmethod
    def length(self, inputs: Inputs) -> int:
        """Number of tokens of a prepared row, for batching."""

    @abstractmethod
    def collate(self, rows: Sequence[Inputs]) -> dict[str, Tensor]:
        """Stack prepared rows into tensors with B rows, padded where they differ in length."""

    @abstractmethod
    def forward(self, inputs: dict[str, Tensor]) -> Features:
        """Encode a collated batch."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write what ``prepare`` needs and the sizes of the parameters, as JSON and text files.

        Parameters themselves are written by the model.
        """

    @abstractmethod
    def restore(self, folder: Path) -> None:
        """Undo ``save`` and create the parameters with their sizes, not their values."""

    def load_base(self) -> None:
        """Give a restored encoder the parameters that ``fit`` took from a named model, if any.

        :raises PolytaskError: If there is no such model, or it has other parameters.
        """

    @property
    def layers(self) -> Sequence[nn.Module]:
        """The modules whose outputs are hidden states BLD, first to last; may be empty."""
        return ()

    @property
    def longest(self) -> int | None:
        """Most tokens that ``forward`` has positions for; None if there is no limit."""
        return None

    @property
    def embedding(self) -> nn.Embedding | None:
        """The table of token vectors, for heads that are tied to it."""
        return None

    def output_vectors(self) -> nn.Parameter | None:
        """The vectors that a named model scores tokens with, where those are not its embedding."""
        return None

    @property
    def blank(self) -> int:
        """The id that stands for a token that is hidden; that of padding unless there is one."""
        return 0

    @property
    def special(self) -> Sequence[int]:
        """The ids of tokens that are no part of a text: padding, separators."""
        return ()

    @property
    def writer(self) -> Writer | None:
        """What turns tokens into text, for encoders that read a ``Prompt``."""
        return None

    @property
    def packs(self) -> int | None:
        """Most tokens of a sequence that texts are packed into; None where each is a row."""
        return None

    def remembering(self) -> AbstractContextManager[Memory | None]:
        """While inside, each batch goes on, row by row, from what was read before.

        :return: A context that gives None where an encoder has to read everything again.
        """
        return nullcontext()
