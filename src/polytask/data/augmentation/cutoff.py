"""Cutoff: sets parts of the token vectors to zero."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, final

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from polytask.data.augmentation.base import EmbeddingAugmentation, Share, augmentations

What: TypeAlias = Literal["tokens", "span", "features"]


@final
@augmentations.register("cutoff")
class Cutoff(EmbeddingAugmentation):
    """Sets part of the word vectors that enter the encoder to zero: tokens, a span, or features.

    Shen et al., "A Simple but Tough-to-Beat Data Augmentation Approach for Natural Language
    Understanding and Generation", 2020, section 3. https://arxiv.org/abs/2009.13818 Deviations:
    vectors of positions and segments stay, and tokens that are cut off are still attended to. A
    row is either changed or not, where the paper adds both losses. There is no consistency loss
    between both. A span is drawn among the positions of the batch, padding included.

    :param what: ``tokens``: each token with probability ``share``; ``span``: consecutive tokens;
        ``features``: each feature with probability ``share``, the same for all tokens of a row.
    :param share: Share of a row that is set to zero.
    :param rows: Share of the rows that are changed.
    """

    def __init__(
        self,
        search: tuple[Path, ...] = (),
        /,
        *,
        what: What = "tokens",
        share: Share = 0.1,
        rows: Annotated[float, Field(gt=0, le=1)] = 0.5,
    ) -> None:
        super().__init__(search)
        self._cut, self._share, self._rows = _CUTS[what], share, rows

    @override
    def change(self, vectors_BLD: Tensor) -> Tensor:
        cut_BLD = self._cut(vectors_BLD, self._share)
        spared_B11 = torch.rand_like(vectors_BLD[:, :1, :1], dtype=torch.float) >= self._rows
        return vectors_BLD * (~cut_BLD | spared_B11)


def cut_tokens(vectors_BLD: Tensor, share: float) -> Tensor:
    """Return a (B, L, 1) mask that is true for each token with probability ``share``."""
    return torch.rand_like(vectors_BLD[:, :, :1], dtype=torch.float) < share


def cut_features(vectors_BLD: Tensor, share: float) -> Tensor:
    """Return a (B, 1, D) mask that is true for each feature with probability ``share``."""
    return torch.rand_like(vectors_BLD[:, :1, :], dtype=torch.float) < share


def cut_span(vectors_BLD: Tensor, share: float) -> Tensor:
    """Return a (B, L, 1) mask of a random span of at least one position."""
    length = vectors_BLD.shape[1]
    size = max(1, round(share * length))
    chance_B11 = torch.rand_like(vectors_BLD[:, :1, :1], dtype=torch.float)
    first_B11 = (chance_B11 * (length - size + 1)).floor()
    places_L1 = torch.arange(length, device=vectors_BLD.device).unsqueeze(-1)
    return (places_L1 >= first_B11) & (places_L1 < first_B11 + size)


_CUTS: dict[What, Callable[[Tensor, float], Tensor]] = {
    "tokens": cut_tokens,
    "span": cut_span,
    "features": cut_features,
}
