"""The interface of an encoder: rows in, features out.

An encoder has three stages. ``prepare`` turns the input fields of a row into something small, once
before training, and the result is kept on disk. ``read`` turns the result into numbers at every draw,
in a worker of the loader: it decodes, crops, flips, adds noise. ``forward`` turns a collated batch
into features. An encoder is constructed from options, receives its columns, and is then either
``fit`` on training rows or ``restore``-d from a folder. Only then do its parameters exist.
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
    """Base of encoders, which turn rows of texts, images, sounds or table cells into ``Features``."""

    reads: ClassVar[frozenset[ColumnType]] = frozenset({"text", "words"})
    """The types of columns that the encoder reads."""

    accepts_missing: ClassVar[bool] = False
    """True if a field may be None; otherwise a missing value is an error in the data."""

    width: int
    """The dimension of features, D; known after ``fit`` or ``restore``."""

    pads: bool = True
    """True if padding does not change a row's features. If not, only rows of equal length are encoded
    together."""

    @classmethod
    def default_learning_rate(cls, options: Mapping[str, Any]) -> float:
        """Return the peak learning rate for recipes that set none.

        :param options: The options of the encoder.
        """
        return 2e-3

    def set_columns(self, columns: Sequence[Column]) -> None:
        """Set the input columns, once, before ``fit`` or ``restore``.

        Called if all tasks read the same columns, for encoders that treat each column separately.

        :raises RecipeError: If the encoder cannot read such columns together.
        """

    @abstractmethod
    def fit(self, rows: Iterable[Fields]) -> None:
        """Learn what ``prepare`` needs (a vocabulary, ...) and create the parameters.

        :param rows: Input fields of the training rows, in order; may be iterated several times.
        """

    @abstractmethod
    def prepare(self, rows: Sequence[Fields]) -> list[Inputs]:
        """Turn input fields into prepared rows: numbers, lists of numbers, arrays, bytes, paths.

        A field is the value of a column. A text is a list of words if it was segmented before; two
        texts are a pair. An image or a sound is the content of a file (bytes), or its path.

        :raises DataError: If the encoder cannot read the type of a field.
        """

    def read(self, inputs: Inputs, rng: np.random.Generator | None) -> Inputs:
        """Turn a prepared row into the input of ``collate``, at every draw, in a loader worker.

        It must not change ``inputs``, and may depend only on its arguments and the state after
        ``fit``. So a resumed training, and any number of workers, read the same numbers.

        :param rng: Random numbers for this draw of the row in training; None in evaluation, where
            reading is deterministic.
        """
        return inputs

    @abstractmethod
    def num_tokens(self, inputs: Inputs) -> int:
        """Return the number of tokens of a prepared row, for batching."""

    @abstractmethod
    def collate(self, rows: Sequence[Inputs]) -> Collated:
        """Stack rows, as ``read`` returns them, into tensors with B rows.

        Rows with different numbers of tokens are padded on the right, and ``lengths`` holds these
        numbers. Layers that an architecture adds inside an encoder use them to mask padding.
        """

    @abstractmethod
    def forward(self, inputs: Collated) -> Features:
        """Encode a collated batch."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the state of ``prepare`` and the sizes of the parameters as JSON and text files.

        The model writes the parameters.
        """

    @abstractmethod
    def restore(self, folder: Path) -> None:
        """Read a saved state, and create parameters of the saved sizes, without their values."""

    @property
    def layers(self) -> Sequence[nn.Module]:
        """The modules whose outputs are hidden states BLD, first to last; may be empty."""
        return ()
