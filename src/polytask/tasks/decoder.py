"""A transformer decoder that reads features and writes tokens.

Vaswani et al., "Attention Is All You Need", NeurIPS 2017, section 3.
https://arxiv.org/abs/1706.03762

Deviations: norms come before attention and feed-forward layers, and after the last layer (Xiong et
al., ICML 2020, figure 1b. https://arxiv.org/abs/2002.04745); GELU for ReLU; the first token says
which task is asked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from polytask.core.features import Features

State = dict[str, Any]


@dataclass(frozen=True)
class DecoderSizes:
    """How large a decoder is.

    :param layers: Number of layers.
    :param width: Width of a hidden state, and of the vector of a token.
    :param heads: Attention heads of a layer.
    :param feed_forward: Inner width of the feed-forward layers.
    :param dropout: Share of the numbers dropped in training.
    :param max_tokens: Most tokens of a sequence.
    """

    layers: int
    width: int
    heads: int
    feed_forward: int
    dropout: float
    max_tokens: int


class Decoder(nn.Module):
    """Tokens so far, and features of what they are about, to logits of the next token.

    The vectors that tokens are read as also score them.

    :param memory: D of the features.
    :param vocabulary: Number of ids.
    """

    positions_TD: Tensor

    def __init__(self, memory: int, vocabulary: int, sizes: DecoderSizes) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary, sizes.width)
        nn.init.normal_(self.table.weight, std=sizes.width**-0.5)
        self.register_buffer(
            "positions_TD", _sinusoids(sizes.max_tokens, sizes.width), persistent=False
        )
        self.dropout = nn.Dropout(sizes.dropout)
        self.stack = nn.ModuleList(DecoderLayer(memory, sizes) for _ in range(sizes.layers))
        self.norm = nn.LayerNorm(sizes.width)
        self._scale = math.sqrt(sizes.width)

    @override
    def forward(self, ids_bT: Tensor, features: Features) -> Tensor:
        """Return the logits after every token, each knowing those before it alone: logits_bTV."""
        logits_bTV, _ = self.extend(ids_bT, self.begin(features))
        return logits_bTV

    def begin(self, features: Features) -> State:
        """What all steps need of b rows: keys and values of their features."""
        mask_bL = features.mask_BL
        seen_bL = mask_bL | ~mask_bL.any(1, keepdim=True)  # a row without tokens: no NaN
        layers = [layer.begin(features.tokens_BLD) for layer in self._layers()]
        return {"layers": layers, "seen": seen_bL[:, None, None, :]}

    def extend(self, ids_bT: Tensor, state: State) -> tuple[Tensor, State]:
        """Read further tokens of every row.

        :return: The logits after each of them, logits_bTV in fp32, and the state with them.
        """
        start = state["layers"][0]["key"].shape[2]
        stop = start + ids_bT.shape[1]
        hidden_bTD = self.table(ids_bT) * self._scale + self.positions_TD[start:stop]
        hidden_bTD = self.dropout(hidden_bTD)
        earlier_TS = torch.ones(stop, stop, dtype=torch.bool, device=ids_bT.device).tril()[start:]
        layers = []
        for layer, own in zip(self._layers(), state["layers"], strict=True):
            hidden_bTD, own = layer(hidden_bTD, earlier_TS, own, state["seen"])
            layers.append(own)
        logits_bTV = functional.linear(self.norm(hidden_bTD), self.table.weight).float()
        return logits_bTV, {**state, "layers": layers}

    def step(self, ids_n: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one more token of every row: the logits after it, logits_nV, and the state."""
        step_logits, state = self.extend(ids_n.unsqueeze(1), state)
        return step_logits[:, 0], state

    def _layers(self) -> list[DecoderLayer]:
        return [layer for layer in self.stack if isinstance(layer, DecoderLayer)]


class DecoderLayer(nn.Module):
    """Attention to the tokens before, attention to the features, a feed-forward network.

    :param memory: D of the features.
    """

    def __init__(self, memory: int, sizes: DecoderSizes) -> None:
        super().__init__()
        width = sizes.width
        self._heads, self._dropout = sizes.heads, sizes.dropout
        self.self_norm, self.cross_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * width)
        self.self_output, self.cross_output = nn.Linear(width, width), nn.Linear(width, width)
        self.query = nn.Linear(width, width)
        self.memory = nn.Linear(memory, 2 * width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, sizes.feed_forward),
            nn.GELU(),
            nn.Dropout(sizes.dropout),
            nn.Linear(sizes.feed_forward, width),
        )
        self.dropout = nn.Dropout(sizes.dropout)

    def begin(self, tokens_bLD: Tensor) -> State:
        """Keys and values of the features, and none of tokens yet."""
        key, value = (self._split(part) for part in self.memory(tokens_bLD).chunk(2, dim=-1))
        return {
            "memory_key": key,
            "memory_value": value,
            "key": key[:, :, :0],
            "value": value[:, :, :0],
        }

    @override
    def forward(
        self, hidden_bTD: Tensor, earlier_TS: Tensor, state: State, seen_b11L: Tensor
    ) -> tuple[Tensor, State]:
        parts = self.project(self.self_norm(hidden_bTD)).chunk(3, dim=-1)
        query, key, value = map(self._split, parts)
        key = torch.cat([state["key"], key], dim=2)
        value = torch.cat([state["value"], value], dim=2)
        hidden_bTD = hidden_bTD + self._attend(
            (query, key, value), earlier_TS[None, None], self.self_output
        )
        query = self._split(self.query(self.cross_norm(hidden_bTD)))
        memory = (query, state["memory_key"], state["memory_value"])
        hidden_bTD = hidden_bTD + self._attend(memory, seen_b11L, self.cross_output)
        hidden_bTD = hidden_bTD + self.dropout(self.feed_forward(hidden_bTD))
        return hidden_bTD, {**state, "key": key, "value": value}

    def _attend(
        self, parts: tuple[Tensor, Tensor, Tensor], mask: Tensor, output: nn.Linear
    ) -> Tensor:
        query, key, value = parts
        dropout = self._dropout if self.training else 0.0
        attended_bHTK = functional.scaled_dot_product_attention(
            query, key, value, mask, dropout_p=dropout
        )
        added_bTD: Tensor = self.dropout(output(attended_bHTK.transpose(1, 2).flatten(2)))
        return added_bTD

    def _split(self, part_bTD: Tensor) -> Tensor:
        split_bHTK: Tensor = part_bTD.unflatten(-1, (self._heads, -1)).transpose(1, 2)
        return split_bHTK


def _sinusoids(length: int, width: int) -> Tensor:
    """Return the position of each of T tokens as waves of D / 2 lengths: section 3.5."""
    position_T1 = torch.arange(length).unsqueeze(1)
    rate_d = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000) / width))
    return torch.cat([(position_T1 * rate_d).sin(), (position_T1 * rate_d).cos()], dim=1)
