"""Token vectors moved to where the losses are higher."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, final

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor
from typing_extensions import override

from polytask.data.augmentation.base import Adversary, augmentations


@final
@augmentations.register("adversarial")
class Adversarial(Adversary):
    """Moves the word vectors that enter the encoder to where the losses of their row are higher.

    Miyato, Dai and Goodfellow, "Adversarial Training Methods for Semi-Supervised Text
    Classification", ICLR 2017, equation 5. https://arxiv.org/abs/1605.07725 Deviations: vectors are
    not normalised, but the size of a move is a share of theirs; a row is either moved or not, where
    the paper adds up both losses; with several tasks, losses are those of all tasks of the row.
    A step costs a forward pass and a backward pass without parameters more.

    :param size: The length of a move, as a share of that of all vectors of the row.
    :param rows: The share of the rows that are moved.
    """

    def __init__(
        self,
        search: tuple[Path, ...] = (),
        /,
        *,
        size: PositiveFloat = 0.05,
        rows: Annotated[float, Field(gt=0, le=1)] = 0.5,
    ) -> None:
        super().__init__(search)
        self._size, self._rows = size, rows

    @override
    def change(self, vectors_BLD: Tensor, gradients_BLD: Tensor) -> Tensor:
        moves_BLD = ascent(vectors_BLD.detach(), gradients_BLD, self._size)
        moved_B11 = torch.rand_like(vectors_BLD[:, :1, :1], dtype=torch.float) < self._rows
        return vectors_BLD + (moves_BLD * moved_B11).to(vectors_BLD)


def ascent(vectors_BLD: Tensor, gradients_BLD: Tensor, size: float) -> Tensor:
    """The moves of a length along the gradient of each row, equation 5; zero where that is zero.

    :param size: The length, as a share of that of the vectors of the row that have a gradient.
    """
    gradients_BLD = gradients_BLD.float()
    reached_BL1 = gradients_BLD.ne(0).any(-1, keepdim=True)
    lengths_B11 = _length(vectors_BLD.float() * reached_BL1)
    steepest_BLD = gradients_BLD / gradients_BLD.abs().amax((1, 2), keepdim=True).clamp(min=_TINY)
    return size * lengths_B11 * steepest_BLD / _length(steepest_BLD).clamp(min=_TINY)


_TINY = torch.finfo(torch.float).tiny
"""Keeps the gradient of a row that has none from being divided by zero."""


def _length(vectors_BLD: Tensor) -> Tensor:
    lengths_B11: Tensor = torch.linalg.vector_norm(vectors_BLD, dim=(1, 2), keepdim=True)
    return lengths_B11
