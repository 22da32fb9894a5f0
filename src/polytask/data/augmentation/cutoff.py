"""Parts of the token vectors set to zero."""

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
    vectors of positions and segments stay, and tokens that are cut off are still attended to; a
    row is either changed or not, where the paper adds up both losses; no term asks that both are
    predicted alike. A span is one of the batch's positions, padding included.

    :param what: ``tokens``: each with that chance; ``span``: some that follow each other;
        ``features``: the same numbers of all tokens of a row, each with that chance.
    :param share: The share of a row that is cut off.
    :param rows: The share of the rows that anything is cut off from.
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
    """Tokens, each by chance: True where something is cut off, of shape (B, L, 1)."""
    return torch.rand_like(vectors_BLD[:, :, :1], dtype=torch.float) < share


def cut_features(vectors_BLD: Tensor, share: float) -> Tensor:
    """Features, each by chance, the same of all tokens: (B, 1, D)."""
    return torch.rand_like(vectors_BLD[:, :1, :], dtype=torch.float) < share


def cut_span(vectors_BLD: Tensor, share: float) -> Tensor:
    """So many positions, at least one, from a random one on: (B, L, 1)."""
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
