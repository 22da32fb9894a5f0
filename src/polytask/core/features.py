"""Features: the output of encoders and the input of heads.

Shape suffixes used everywhere: B rows, L tokens, W words, D dimensions, T tasks, P shared
parameters, C classes, N examples of a data set; a lower-case letter is a subset of its capital.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor


@dataclass(frozen=True)
class TextLayout:
    """The positions of a row's tokens in its text.

    :param words_BW: Index of the first token of each word, -1 where there is no such word; None if
        the text was not split into words.
    :param offsets_BL2: Start and end of each token in its text, in characters; -1 for tokens of
        other columns and special tokens. None unless a task needs offsets.
    :param spans_BM2: The first word of each marked span and the word after its last, -1 where there
        is no such span; None unless spans are marked.
    """

    words_BW: Tensor | None = None
    offsets_BL2: Tensor | None = None
    spans_BM2: Tensor | None = None


@dataclass(frozen=True)
class GridLayout:
    """Tokens are the cells of an image, row by row.

    :param height: Number of rows of cells; height × width tokens in all.
    :param width: Number of cells in a row.
    :param sizes_B2: Height and width of the original images in pixels, for answers in their pixels.
    """

    height: int
    width: int
    sizes_B2: Tensor | None = None


@dataclass(frozen=True)
class FrameLayout:
    """Tokens are stretches of time.

    :param stride: Seconds from one token to the next.
    """

    stride: float


@dataclass(frozen=True)
class CellLayout:
    """Tokens are the cells of a table row, one for each column.

    :param columns: Names of the columns, in the order of the tokens.
    """

    columns: tuple[str, ...]


Layout: TypeAlias = TextLayout | GridLayout | FrameLayout | CellLayout


@dataclass(frozen=True)
class Features:
    """The encoding of B rows: a text, an image, a sound or a table row is a sequence of tokens.

    :param tokens_BLD: One vector per token.
    :param mask_BL: True where a token is real, False where it is padding.
    :param layout: Words of a text, cells of an image, frames of a sound or columns; None if unknown.
    :param segments: Number of segments of a row, P, such as the windows of a long text: its tokens
        are P stretches of L / P, one for each segment.
    """

    tokens_BLD: Tensor
    mask_BL: Tensor
    layout: Layout | None = None
    segments: int = 1

    def map(self, function: Callable[[Tensor], Tensor]) -> Features:
        """Return the features with a function applied to every tensor, in the layout too.

        Copy features only by ``map``, ``join`` or ``dataclasses.replace``, so that no copy loses a
        field.

        :param function: Called with tensors that have B rows, in a fixed order.
        """
        return join([self], lambda tensors: function(tensors[0]))

    def select(self, rows_b: Tensor) -> Features:
        """Return the features of some rows, without a copy if they are all rows.

        :param rows_b: The rows, ascending, none twice. So B of them are all rows.
        """
        if rows_b.shape[0] == self.mask_BL.shape[0]:
            return self
        return self.map(lambda tensor: tensor[rows_b])

    def split(self, sizes: Sequence[int]) -> list[Features]:
        """Return the features of consecutive groups of rows.

        :param sizes: The number of rows of each part; B in all.
        """
        pieces: list[Sequence[Tensor]] = []

        def cut(tensor: Tensor) -> Tensor:
            pieces.append(tensor.split([*sizes]))
            return tensor

        self.map(cut)
        # Each tensor is split once, so that autograd joins the gradient of its parts once.
        parts = [iter(part) for part in zip(*pieces, strict=True)]
        return [self.map(partial(_next, part)) for part in parts]

    @property
    def text(self) -> TextLayout:
        """The layout of a text; an empty one for anything else."""
        return self.layout if isinstance(self.layout, TextLayout) else TextLayout()

    @property
    def words_BW(self) -> Tensor | None:
        """Index of the first token of each word; see ``TextLayout``."""
        return self.text.words_BW

    @property
    def offsets_BL2(self) -> Tensor | None:
        """Start and end of each token in its text; see ``TextLayout``."""
        return self.text.offsets_BL2

    @property
    def spans_BM2(self) -> Tensor | None:
        """The marked spans; see ``TextLayout``."""
        return self.text.spans_BM2

    @property
    def per_segment(self) -> Features:
        """The segments of all rows as B × P rows, without a layout."""
        return Features(
            self.tokens_BLD.unflatten(1, (self.segments, -1)).flatten(0, 1),
            self.mask_BL.unflatten(1, (self.segments, -1)).flatten(0, 1),
        )

    @property
    def segment_mask_BP(self) -> Tensor:
        """A mask of each row's segments."""
        mask_BP: Tensor = self.mask_BL.unflatten(1, (self.segments, -1)).any(-1)
        return mask_BP

    @property
    def mean_BD(self) -> Tensor:
        """The mean of the real tokens of each row."""
        mask_BL1 = self.mask_BL.unsqueeze(-1).to(self.tokens_BLD.dtype)
        return (self.tokens_BLD * mask_BL1).sum(1) / mask_BL1.sum(1).clamp(min=1)

    @property
    def first_BD(self) -> Tensor:
        """The first token of each row."""
        return self.tokens_BLD[:, 0]

    @property
    def last_BD(self) -> Tensor:
        """The last real token of each row; the first one of a row without any."""
        places_L = torch.arange(self.mask_BL.shape[1], device=self.mask_BL.device)
        last_B1 = (self.mask_BL * places_L).argmax(1, keepdim=True)
        index_B1D = last_B1.unsqueeze(-1).expand(-1, -1, self.tokens_BLD.shape[-1])
        return self.tokens_BLD.gather(1, index_B1D).squeeze(1)


def join(parts: Sequence[Features], function: Callable[[Sequence[Tensor]], Tensor]) -> Features:
    """Join several ``Features`` with the same fields into one.

    :param parts: At least one. Fields other than tensors are taken from the first.
    :param function: Called once for every tensor field, with the tensors of all parts.
    """
    joined: Features = _join(parts, function)
    return joined


def _next(tensors: Iterator[Tensor], _: Tensor) -> Tensor:
    return next(tensors)


def _join(values: Sequence[Any], function: Callable[[Sequence[Tensor]], Tensor]) -> Any:
    first = values[0]
    if isinstance(first, Tensor):
        return function(values)
    if not is_dataclass(first) or isinstance(first, type):
        return first
    names = [field.name for field in fields(first)]
    own = {name: _join([getattr(value, name) for value in values], function) for name in names}
    return replace(first, **own)
