"""The interfaces of augmentations: of words, texts, token vectors and rows of a batch.

Only training uses them. Validation, test and prediction use the rows unchanged.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import numpy as np
from pydantic import Field, PositiveInt
from torch import Tensor

from polytask.core.batch import pick
from polytask.core.registry import Registry

Word: TypeAlias = tuple[str, int]
"""A word, and the position of the word that it comes from."""

Share = Annotated[float, Field(gt=0, lt=1)]


class Augmentation:
    """Base of all augmentations.

    :param search: Folders in which relative paths are looked up, first match wins.
    """

    def __init__(self, search: tuple[Path, ...] = (), /) -> None:
        self.search = search


class WordAugmentation(Augmentation, ABC):
    """Changes words, for changed copies of the training rows.

    :param copies: Changed copies of each training row, in addition to the row itself.
    """

    def __init__(self, search: tuple[Path, ...] = (), /, *, copies: PositiveInt = 1) -> None:
        super().__init__(search)
        self.copies = copies

    @abstractmethod
    def change(self, words: Sequence[str], random: np.random.Generator) -> list[Word]:
        """Return the words of a changed text, at least one.

        :param words: At least one word.
        :return: Words with the positions that they come from; no position occurs twice.
        """


Answer: TypeAlias = Callable[[str, str, Sequence[str]], list[str]]
"""A function that returns the texts a task of a run generates: (run folder, task, inputs)."""


class TextAugmentation(Augmentation, ABC):
    """Rewrites texts with finished runs, for one changed copy of each training row."""

    @abstractmethod
    def rewrite(self, texts: Sequence[str], answer: Answer) -> list[str]:
        """Return one text per text; a text that would become empty stays as it was.

        :param answer: Returns the texts that a task of a run generates.
        """


class EmbeddingAugmentation(Augmentation, ABC):
    """Changes token vectors whenever a training batch enters an encoder.

    Random numbers come from the generators of PyTorch, as for dropout.
    """

    @abstractmethod
    def change(self, vectors_BLD: Tensor) -> Tensor:
        """Return vectors of the same shape; rows must not depend on each other."""


class Adversary(Augmentation, ABC):
    """Changes token vectors to raise the losses, whenever a training batch enters an encoder.

    Random numbers come from the generators of PyTorch, as for dropout.
    """

    @abstractmethod
    def change(self, vectors_BLD: Tensor, gradients_BLD: Tensor) -> Tensor:
        """Return vectors of the same shape; rows must not depend on each other.

        :param gradients_BLD: Gradients of the losses with respect to the vectors.
        """


@dataclass(frozen=True)
class Mix:
    """A convex combination of each of b rows with a partner row, which may be the row itself.

    :param weight: Weight of the row, 0 to 1; the partner has weight 1 - weight.
    :param partners_b: Position of the partner of each row.
    """

    weight: float
    partners_b: Tensor

    def vectors(self, vectors_b: Tensor) -> Tensor:
        """Return the mixed vectors of the rows."""
        partners_b = vectors_b[self.partners_b.to(vectors_b.device)]
        return self.weight * vectors_b + (1 - self.weight) * partners_b

    def loss(self, loss_of: Callable[[Any], Tensor], values: Any) -> Tensor:
        """Return the mix of two losses: one with the targets of the rows, one with the partners'.

        :param loss_of: Returns the mean loss over the rows, given their targets.
        """
        others = pick(values, self.partners_b)
        return self.weight * loss_of(values) + (1 - self.weight) * loss_of(others)


class RowMixing(Augmentation, ABC):
    """Mixes the rows of a task in a batch, for heads that read one vector per row."""

    @abstractmethod
    def draw(self, rows: int) -> Mix:
        """Draw how to mix a number of rows, from the generator of PyTorch on the CPU."""


augmentations: Registry[Augmentation] = Registry("augmentation", Augmentation)
