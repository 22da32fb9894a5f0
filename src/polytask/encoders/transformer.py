"""A transformer trained from scratch.

Vaswani et al., "Attention Is All You Need", NeurIPS 2017, section 3.
https://arxiv.org/abs/1706.03762

Deviations: norms come before attention and feed-forward layers, and after the last layer (Xiong et
al., "On Layer Normalization in the Transformer Architecture", ICML 2020, figure 1b.
https://arxiv.org/abs/2002.04745); GELU for ReLU; texts of a pair differ by a learned vector.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, PositiveInt
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from polytask.core.batch import Fields
from polytask.core.collated import Collated
from polytask.core.errors import RecipeError
from polytask.core.features import Features, TextLayout
from polytask.core.files import write_text
from polytask.encoders.base import encoders
from polytask.encoders.subwords import (
    FIRST,
    LAST,
    PADDING,
    SubwordReader,
    Subwords,
    texts_of,
    train,
)
from polytask.encoders.tokens import mask_of
from polytask.encoders.word_encoder import Share

_TOKENIZER = "tokenizer.json"
_SEGMENTS = 2


class SubwordEncoder(SubwordReader, ABC):
    """Base of encoders over subwords that are learned from the training texts.

    :param search: Not used.
    :param vocabulary: Learn at most this many subwords, the 256 bytes included.
    :param max_length: Longest text in subwords, special ones included; both texts of a pair together.
    """

    def __init__(
        self,
        search: tuple[Path, ...] = (),
        /,
        *,
        vocabulary: Annotated[int, Field(ge=300)] = 16_000,
        max_length: Annotated[int, Field(ge=8)] = 256,
        **options: Any,
    ) -> None:
        super().__init__(search, max_length=max_length, **options)
        self._vocabulary = vocabulary

    @abstractmethod
    def build(self, vocabulary: int) -> None:
        """Create the parameters.

        :param vocabulary: Number of subwords.
        """

    @override
    def fit(self, rows: Iterable[Fields]) -> None:
        self._use(train(texts_of(rows), self._vocabulary))

    @property
    @override
    def special_ids(self) -> Sequence[int]:
        return (PADDING, FIRST, LAST)

    @override
    def save(self, folder: Path) -> None:
        write_text(folder / _TOKENIZER, self.subwords.tokenizer.to_str())

    @override
    def restore(self, folder: Path) -> None:
        text = (folder / _TOKENIZER).read_text(encoding="utf-8")
        self._use(Tokenizer.from_str(text))

    def _use(self, tokenizer: Tokenizer) -> None:
        self.subwords = Subwords(tokenizer, self.max_length, empty=LAST, stride=self.stride)
        self.build(tokenizer.get_vocab_size())


class AttentionEncoder(SubwordEncoder, ABC):
    """Base of encoders whose tokens attend to each other.

    :param causal: Let every token attend only to itself and earlier tokens, as in language models
        that read from left to right.
    """

    def __init__(
        self, search: tuple[Path, ...] = (), /, *, causal: bool = False, **options: Any
    ) -> None:
        super().__init__(search, **options)
        self._causal = causal

    @property
    @override
    def reads_forward(self) -> bool:
        return self._causal


@encoders.register("transformer")
class Transformer(AttentionEncoder):
    """Self-attention over subwords, trained from scratch with a learned vocabulary.

    :param search: Not used.
    :param layers: Number of layers.
    :param width: Width of a hidden state.
    :param heads: Attention heads of a layer; twice their number divides the width.
    :param feed_forward: Inner width of the feed-forward layers.
    :param dropout: Share of the numbers dropped in training.
    """

    positions_LD: Tensor

    def __init__(
        self,
        search: tuple[Path, ...] = (),
        /,
        *,
        layers: PositiveInt = 4,
        width: PositiveInt = 256,
        heads: PositiveInt = 4,
        feed_forward: PositiveInt = 1024,
        dropout: Share = 0.1,
        **options: Any,
    ) -> None:
        super().__init__(search, **options)
        if width % (2 * heads):
            raise RecipeError(
                [f"encoder.width: {width} is no multiple of {2 * heads}, twice the heads"]
            )
        self.width = width
        self._depth = layers
        self._sizes = (width, heads, feed_forward, dropout)

    @classmethod
    @override
    def default_learning_rate(cls, options: Mapping[str, Any]) -> float:
        return 5e-4

    @override
    def build(self, vocabulary: int) -> None:
        *_, dropout = self._sizes
        self.table = nn.Embedding(vocabulary, self.width, padding_idx=PADDING)
        self.segment = nn.Embedding(_SEGMENTS, self.width)
        for embedding in (self.table, self.segment):
            nn.init.normal_(embedding.weight, std=self.width**-0.5)
        positions_LD = sinusoids(self.max_length, self.width)
        self.register_buffer("positions_LD", positions_LD, persistent=False)
        self.dropout = nn.Dropout(dropout)
        self.stack = nn.ModuleList(TransformerLayer(*self._sizes) for _ in range(self._depth))
        self.norm = nn.LayerNorm(self.width)

    @override
    def forward(self, inputs: Collated) -> Features:
        ids_BL = inputs["ids"]
        mask_BL = mask_of(inputs)
        segments_BL = inputs.get("segments", torch.zeros_like(ids_BL))
        vectors_BLD = self.table(ids_BL) + self.segment(segments_BL)
        hidden_BLD = vectors_BLD * math.sqrt(self.width) + self.positions_LD[: ids_BL.shape[1]]
        hidden_BLD = self.dropout(hidden_BLD)
        # One row of the mask serves all tokens unless the encoder is causal.
        seen_B1LL = mask_BL[:, None, None, :]
        if self._causal:
            length = ids_BL.shape[1]
            ones_LL = torch.ones(length, length, dtype=torch.bool, device=mask_BL.device)
            seen_B1LL = seen_B1LL & ones_LL.tril()
        for layer in self.stack:
            hidden_BLD = layer(hidden_BLD, seen_B1LL)
        return Features(self.norm(hidden_BLD), mask_BL, TextLayout(inputs.get("words")))

    @property
    @override
    def layers(self) -> Sequence[nn.Module]:
        return tuple(self.stack)

    @property
    @override
    def max_tokens(self) -> int:
        return self.max_length

    @property
    @override
    def embedding(self) -> nn.Embedding:
        return self.table


class TransformerLayer(nn.Module):
    """Attention, then a feed-forward network; each reads normalised states and adds to them.

    :param width: Width D of a hidden state.
    :param heads: Number of heads H, each D / H wide.
    :param feed_forward: Inner width of the feed-forward network.
    :param dropout: Share of the numbers dropped in training.
    """

    def __init__(self, width: int, heads: int, feed_forward: int, dropout: float) -> None:
        super().__init__()
        self._heads = heads
        self._dropout = dropout
        self.attention_norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * width)
        self.attention_output = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, feed_forward),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(feed_forward, width),
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden_BLD: Tensor, seen_B1LL: Tensor) -> Tensor:
        """Return the hidden states after the layer.

        :param seen_B1LL: Which tokens each token may attend to, (B, 1, L or 1, L).
        """
        hidden_BLD = hidden_BLD + self._attend(hidden_BLD, seen_B1LL)
        added_BLD: Tensor = self.dropout(self.feed_forward(hidden_BLD))
        return hidden_BLD + added_BLD

    def _attend(self, hidden_BLD: Tensor, seen_B1LL: Tensor) -> Tensor:
        projected_BLX = self.project(self.attention_norm(hidden_BLD))
        query, key, value = (
            part_BLD.unflatten(-1, (self._heads, -1)).transpose(1, 2)
            for part_BLD in projected_BLX.chunk(3, dim=-1)
        )
        attended_BHLK = functional.scaled_dot_product_attention(
            query, key, value, seen_B1LL, dropout_p=self._dropout if self.training else 0.0
        )
        attended_BLD = attended_BHLK.transpose(1, 2).flatten(2)
        added_BLD: Tensor = self.dropout(self.attention_output(attended_BLD))
        return added_BLD


def sinusoids(length: int, width: int) -> Tensor:
    """Return the positions of L tokens as sines and cosines of D / 2 wavelengths, LD: section 3.5."""
    position_L1 = torch.arange(length).unsqueeze(1)
    rate_d = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000) / width))
    return torch.cat([(position_L1 * rate_d).sin(), (position_L1 * rate_d).cos()], dim=1)
