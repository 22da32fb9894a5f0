"""The interface of an encoder: rows in, features out.

An encoder has three stages. ``prepare`` turns the input fields of a row into something small, once,
before training; the result is kept on disk. ``read`` turns that into numbers at every draw, in a worker
of the loader: it decodes, crops, flips, adds noise. ``forward`` turns a collated batch into features.
Its life: constructed from options, told its columns, then either ``fit`` on training rows or
``restore`` from a folder; only then do its parameters exist.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import nn

from polytask.core.batch import Fields, Inputs
from polytask.core.collated import Collated
from polytask.core.columns import Column, ColumnType
from polytask.core.features import Features


class Encoder(nn.Module, ABC):
    """Rows -> ``Features``. Text, image, audio, table."""

    reads: ClassVar[frozenset[ColumnType]] = frozenset({"text", "words"})
    """The types of columns that it reads."""

    accepts_missing: ClassVar[bool] = False
    """Whether a field may be None; where it may not, a missing value is a mistake in the data."""

    width: int
    """D of its features; known after ``fit`` or ``restore``."""

    pads: bool = True
    """Whether a row has the same features alone and padded. If not, rows of equal length are encoded
    together, and no others."""

    @classmethod
    def default_learning_rate(cls, options: Mapping[str, Any]) -> float:
        """Return the peak learning rate where a recipe says none.

        :param options: The options that the encoder is built with.
        """
        return 2e-3

    def set_columns(self, columns: Sequence[Column]) -> None:
        """Take note of the input columns, once, before ``fit`` or ``restore``.

        Called where all tasks read the same columns; an encoder that treats columns apart needs it.

        :raises RecipeError: If it cannot read columns like these together.
        """

    @abstractmethod
    def fit(self, rows: Iterable[Fields]) -> None:
        """Learn what ``prepare`` needs (a vocabulary, ...) and create the parameters.

        :param rows: Input fields of the training rows, in order; may be walked several times.
        """

    @abstractmethod
    def prepare(self, rows: Sequence[Fields]) -> list[Inputs]:
        """Turn input fields into what is kept of a row: numbers, lists of them, arrays, bytes, paths.

        A field is the value of a column. A text is a list of words if it was segmented before; two
        texts are a pair. An image or a sound is the content of a file (bytes), or its path.

        :raises DataError: If a field is not of a kind that this encoder reads.
        """

    def read(self, inputs: Inputs, rng: np.random.Generator | None) -> Inputs:
        """Turn a prepared row into what ``collate`` stacks; called at every draw, in loader workers.

        It must neither change ``inputs`` nor depend on anything but its arguments and what ``fit``
        learned: a resumed training, and any number of workers, read the same.

        :param rng: Random numbers for this draw of this row, in training; None in evaluation, where a
            row is read the same each time.
        """
        return inputs

    @abstractmethod
    def num_tokens(self, inputs: Inputs) -> int:
        """Number of tokens of a prepared row, for batching."""

    @abstractmethod
    def collate(self, rows: Sequence[Inputs]) -> Collated:
        """Stack rows, as ``read`` returns them, into tensors with B rows.

        Rows that differ in their number of tokens are padded on the right, and ``lengths`` are their
        numbers of tokens: layers that an architecture adds inside an encoder mask padding by them.
        """

    @abstractmethod
    def forward(self, inputs: Collated) -> Features:
        """Encode a collated batch."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write what ``prepare`` needs and the sizes of the parameters, as JSON and text files.

        Parameters themselves are written by the model.
        """

    @abstractmethod
    def restore(self, folder: Path) -> None:
        """Undo ``save`` and create the parameters with their sizes, not their values."""

    @property
    def layers(self) -> Sequence[nn.Module]:
        """The modules whose outputs are hidden states BLD, first to last; may be empty."""
        return ()
