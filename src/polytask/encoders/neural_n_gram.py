"""The n-gram model of Bengio et al., the first neural language model, as an encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import PositiveInt
from torch import nn
from torch.nn import functional
from typing_extensions import override

from polytask.core.collated import Collated
from polytask.core.features import Features, TextLayout
from polytask.encoders.base import encoders
from polytask.encoders.subwords import PADDING
from polytask.encoders.tokens import mask_of
from polytask.encoders.transformer import SubwordEncoder
from polytask.encoders.word_encoder import Share


@encoders.register("neural_n_gram")
class NeuralNGram(SubwordEncoder):
    """A feed-forward network over each subword and the few before it, trained from scratch.

    Bengio et al., "A Neural Probabilistic Language Model", JMLR 2003, equation 1, without direct
    connections from input to output. https://www.jmlr.org/papers/v3/bengio03a.html

    Deviations: subwords instead of words; dropout. A causal language model reads and scores subwords
    by the same vectors, with a linear layer between the hidden layer and the scores.

    :param search: Not used.
    :param context: Number of subwords that are read at each place: n - 1 of an n-gram.
    :param dimension: Width of the vector of a subword.
    :param width: Width of the hidden layer.
    :param dropout: Share of the numbers dropped in training.
    """

    def __init__(
        self,
        search: tuple[Path, ...] = (),
        /,
        *,
        context: PositiveInt = 4,
        dimension: PositiveInt = 64,
        width: PositiveInt = 256,
        dropout: Share = 0.1,
        **options: Any,
    ) -> None:
        super().__init__(search, **options)
        self.width = width
        self._context, self._dimension, self._dropout = context, dimension, dropout

    @override
    def build(self, vocabulary: int) -> None:
        self.table = nn.Embedding(vocabulary, self._dimension, padding_idx=PADDING)
        nn.init.normal_(self.table.weight, std=self._dimension**-0.5)
        self.dropout = nn.Dropout(self._dropout)
        self.hidden = nn.Linear(self._context * self._dimension, self.width)

    @override
    def forward(self, inputs: Collated) -> Features:
        vectors_BLD = self.dropout(self.table(inputs["ids"]))
        padded_BND = functional.pad(vectors_BLD, (0, 0, self._context - 1, 0))
        windows_BLX = padded_BND.unfold(1, self._context, 1).flatten(2)
        hidden_BLD = self.dropout(self.hidden(windows_BLX).tanh())
        return Features(hidden_BLD, mask_of(inputs), TextLayout(inputs.get("words")))

    @property
    @override
    def embedding(self) -> nn.Embedding:
        return self.table
