"""Adversarial training: moves token vectors along the gradient of the losses."""

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
    """Moves the word vectors that enter the encoder to raise the losses of their row.

    Miyato, Dai and Goodfellow, "Adversarial Training Methods for Semi-Supervised Text
    Classification", ICLR 2017, equation 5. https://arxiv.org/abs/1605.07725 Deviations: vectors are
    not normalised; the size of a move is relative to their norm. A row is either moved or not; the
    paper adds both losses. With several tasks, the losses of all tasks of a row are added. A step
    costs one more forward pass and one more backward pass, without gradients of parameters.

    :param size: Norm of a move, as a share of the norm of all vectors of the row.
    :param rows: Share of the rows that are moved.
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
    """Return moves along the gradient of each row (equation 5); zero if the gradient is zero.

    :param size: Norm of a move, as a share of the norm of the row's vectors that have a gradient.
    """
    gradients_BLD = gradients_BLD.float()
    reached_BL1 = gradients_BLD.ne(0).any(-1, keepdim=True)
    lengths_B11 = _length(vectors_BLD.float() * reached_BL1)
    # Divided by the largest entry first: the square of a tiny gradient would underflow in the norm.
    steepest_BLD = gradients_BLD / gradients_BLD.abs().amax((1, 2), keepdim=True).clamp(min=_TINY)
    return size * lengths_B11 * steepest_BLD / _length(steepest_BLD).clamp(min=_TINY)


_TINY = torch.finfo(torch.float).tiny
"""Lower bound of divisors, for rows whose gradient is zero."""


def _length(vectors_BLD: Tensor) -> Tensor:
    lengths_B11: Tensor = torch.linalg.vector_norm(vectors_BLD, dim=(1, 2), keepdim=True)
    return lengths_B11
