"""A bidirectional LSTM over word vectors.

Graves and Schmidhuber, "Framewise phoneme classification with bidirectional LSTM and other neural
network architectures", Neural Networks 18, 2005. https://doi.org/10.1016/j.neunet.2005.06.042
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from typing_extensions import override

from polytask.core.collated import Collated
from polytask.core.features import Features, TextLayout
from polytask.encoders.base import encoders
from polytask.encoders.tokens import mask_of
from polytask.encoders.word_encoder import Share, WordEncoder


@encoders.register("bilstm")
class BidirectionalLSTM(WordEncoder):
    """A bidirectional LSTM over word vectors.

    :param search: Folders in which ``vectors`` is looked up.
    :param hidden: Width of each direction.
    :param layers: Number of layers.
    :param dropout: Share of the numbers of word vectors and states dropped in training.
    """

    def __init__(
        self,
        search: tuple[Path, ...] = (),
        /,
        *,
        hidden: PositiveInt = 128,
        layers: PositiveInt = 1,
        dropout: Share = 0.1,
        **options: Any,
    ) -> None:
        super().__init__(search, **options)
        self._depth = layers
        self.width = 2 * hidden
        self.dropout = nn.Dropout(dropout)

    @override
    def build(self, dimension: int) -> None:
        widths = [dimension] + [self.width] * self._depth
        self.stack = nn.ModuleList(BidirectionalLayer(*pair) for pair in pairwise(widths))

    @override
    def forward(self, inputs: Collated) -> Features:
        mask_BL = mask_of(inputs)
        reversed_BL1 = reversal(inputs["lengths"], mask_BL)
        tokens_BLD = self.dropout(self.table(inputs["ids"]))
        for layer in self.stack:
            tokens_BLD = self.dropout(layer(tokens_BLD, reversed_BL1))
        return Features(tokens_BLD, mask_BL, TextLayout(inputs.get("words")))

    @property
    @override
    def layers(self) -> Sequence[nn.Module]:
        return tuple(self.stack)


class BidirectionalLayer(nn.Module):
    """One recurrent network for each direction, side by side.

    :param inner: Width of the input.
    :param outer: Width of the output, both directions together.
    """

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        # The second network reads each text reversed, so that padding comes last for both and changes
        # nothing. On a CPU this trains 2 to 3 times as fast as packed sequences.
        self.forwards = nn.LSTM(inner, outer // 2, batch_first=True)
        self.backwards = nn.LSTM(inner, outer // 2, batch_first=True)

    def forward(self, hidden_BLD: Tensor, reversed_BL1: Tensor) -> Tensor:
        """Return the hidden states of both directions, BLD.

        :param reversed_BL1: For each position, its position in the reversed text.
        """
        # Some CPUs do not support bf16, and PyTorch then refuses LSTMs: always in fp32 on CPUs.
        if hidden_BLD.device.type == "cpu":
            with torch.autocast("cpu", enabled=False):
                return self._both(hidden_BLD.float(), reversed_BL1)
        return self._both(hidden_BLD, reversed_BL1)

    def _both(self, hidden_BLD: Tensor, reversed_BL1: Tensor) -> Tensor:
        ahead_BLD, _ = self.forwards(hidden_BLD)
        back_BLD, _ = self.backwards(hidden_BLD.take_along_dim(reversed_BL1, dim=1))
        return torch.cat([ahead_BLD, back_BLD.take_along_dim(reversed_BL1, dim=1)], dim=-1)


def reversal(lengths_B: Tensor, mask_BL: Tensor) -> Tensor:
    """Return for each position its position in the reversed text, (B, L, 1); padding stays."""
    position_L = torch.arange(mask_BL.shape[1], device=mask_BL.device)
    mirrored_BL = lengths_B.unsqueeze(1) - 1 - position_L
    return torch.where(mask_BL, mirrored_BL, position_L).unsqueeze(-1)
