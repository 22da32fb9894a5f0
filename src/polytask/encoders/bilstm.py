"""A recurrent network over word vectors.

Graves and Schmidhuber, "Framewise phoneme classification with bidirectional LSTM and other neural
network architectures", Neural Networks 18, 2005. https://doi.org/10.1016/j.neunet.2005.06.042
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from typing_extensions import override

from polytask.core.features import Features
from polytask.encoders.base import encoders
from polytask.encoders.lexical import Share, WordEncoder
from polytask.encoders.tokens import mask_of


@encoders.register("bilstm")
class BidirectionalLSTM(WordEncoder):
    """Long short-term memory over word vectors, read forwards and backwards.

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
        self._hidden = hidden
        self._layers = layers
        self.dropout = nn.Dropout(dropout)

    @override
    def build(self, dimension: int) -> None:
        self.lstm = nn.LSTM(
            dimension,
            self._hidden,
            self._layers,
            batch_first=True,
            bidirectional=True,
            dropout=self.dropout.p if self._layers > 1 else 0.0,
        )
        self.width = 2 * self._hidden

    @override
    def forward(self, inputs: dict[str, Tensor]) -> Features:
        vectors_BLD = self.dropout(self.table(inputs["ids"]))
        packed = pack_padded_sequence(
            vectors_BLD, inputs["lengths"].cpu(), batch_first=True, enforce_sorted=False
        )
        states, _ = self.lstm(packed)
        longest = vectors_BLD.shape[1]
        tokens_BLD, _ = pad_packed_sequence(states, batch_first=True, total_length=longest)
        return Features(self.dropout(tokens_BLD), mask_of(inputs), inputs.get("words"))
