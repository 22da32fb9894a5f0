"""The interface of an augmentation, for words, texts, token vectors and rows of a batch.

Training alone uses them. Rows of validation and test, and what is predicted later, stay as they are.
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
"""A word, and the place of the word that it comes from."""

Share = Annotated[float, Field(gt=0, lt=1)]


class Augmentation:
    """Shows a training something else than the rows as they are.

    :param search: Folders in which relative paths are looked up, first match wins.
    """

    def __init__(self, search: tuple[Path, ...] = (), /) -> None:
        self.search = search


class WordAugmentation(Augmentation, ABC):
    """Words -> other words, for changed copies of the training rows.

    :param copies: Changed copies of each training row, beside the row itself.
    """

    def __init__(self, search: tuple[Path, ...] = (), /, *, copies: PositiveInt = 1) -> None:
        super().__init__(search)
        self.copies = copies

    @abstractmethod
    def change(self, words: Sequence[str], random: np.random.Generator) -> list[Word]:
        """Words of a changed text, at least one.

        :param words: At least one.
        :return: No two come from the same word.
        """


Answer: TypeAlias = Callable[[str, str, Sequence[str]], list[str]]
"""What a task of a run writes: folder of the run, name of the task, texts that it reads."""


class TextAugmentation(Augmentation, ABC):
    """Texts -> other texts, by runs trained before, for one changed copy of each training row."""

    @abstractmethod
    def rewrite(self, texts: Sequence[str], answer: Answer) -> list[str]:
        """As many texts; one that comes out empty stays as it was.

        :param answer: Lets a task of a run write.
        """


class EmbeddingAugmentation(Augmentation, ABC):
    """Token vectors -> other token vectors, whenever a training batch enters an encoder.

    What is random is drawn from the generators of PyTorch, as dropout is.
    """

    @abstractmethod
    def change(self, vectors_BLD: Tensor) -> Tensor:
        """Vectors of the same shape; rows do not see each other."""


class Adversary(Augmentation, ABC):
    """Token vectors -> others with higher losses, whenever a training batch enters an encoder.

    What is random is drawn from the generators of PyTorch, as dropout is.
    """

    @abstractmethod
    def change(self, vectors_BLD: Tensor, gradients_BLD: Tensor) -> Tensor:
        """Vectors of the same shape; rows do not see each other.

        :param gradients_BLD: Those of the losses, at vectors of the same rows.
        """


@dataclass(frozen=True)
class Mix:
    """Each of b rows of a task mixed with another one, or with itself.

    :param weight: What the row itself counts, 0 to 1; the other one counts the rest.
    :param partners_b: The other row.
    """

    weight: float
    partners_b: Tensor

    def vectors(self, vectors_b: Tensor) -> Tensor:
        """Vectors of the rows, mixed."""
        partners_b = vectors_b[self.partners_b.to(vectors_b.device)]
        return self.weight * vectors_b + (1 - self.weight) * partners_b

    def loss(self, loss_of: Callable[[Any], Tensor], values: Any) -> Tensor:
        """The loss of the rows' own targets and that of their partners', mixed.

        :param loss_of: The mean loss over the rows, given their targets.
        """
        others = pick(values, self.partners_b)
        return self.weight * loss_of(values) + (1 - self.weight) * loss_of(others)


class RowMixing(Augmentation, ABC):
    """Mixes the rows that a batch holds of a task, where a head reads one vector per row."""

    @abstractmethod
    def draw(self, rows: int) -> Mix:
        """How to mix so many rows; drawn from the generators of PyTorch, on the CPU."""


augmentations: Registry[Augmentation] = Registry("augmentation", Augmentation)
