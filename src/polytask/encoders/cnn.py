"""A convolutional network over word vectors.

Kim, "Convolutional Neural Networks for Sentence Classification", EMNLP 2014, section 2.
https://arxiv.org/abs/1408.5882

Deviation: the paper keeps the maximum of each filter over the text; here every word has the values of
all filters, so that heads can pool them or tag words.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pydantic import PositiveInt
from torch import nn
from torch.nn import functional
from typing_extensions import override

from polytask.core.collated import Collated
from polytask.core.features import Features, TextLayout
from polytask.encoders.base import encoders
from polytask.encoders.tokens import mask_of
from polytask.encoders.word_encoder import Share, WordEncoder


@encoders.register("cnn")
class ConvolutionalNetwork(WordEncoder):
    """Convolutions of several widths over word vectors, side by side.

    :param search: Folders in which ``vectors`` is looked up.
    :param widths: Number of words that the filters of each group read.
    :param filters: Number of filters of each group.
    :param dropout: Share of the numbers of word vectors and filters dropped in training.
    """

    def __init__(
        self,
        search: tuple[Path, ...] = (),
        /,
        *,
        widths: tuple[PositiveInt, ...] = (3, 4, 5),
        filters: PositiveInt = 100,
        dropout: Share = 0.1,
        **options: Any,
    ) -> None:
        super().__init__(search, **options)
        self._widths = widths
        self._filters = filters
        self.dropout = nn.Dropout(dropout)

    @override
    def build(self, dimension: int) -> None:
        self.convolutions = nn.ModuleList(
            nn.Sequential(
                # As many outputs as words; zeros, like the vector of padding, around the text.
                nn.ConstantPad1d(((width - 1) // 2, width // 2), 0.0),
                nn.Conv1d(dimension, self._filters, width),
            )
            for width in self._widths
        )
        self.width = self._filters * len(self._widths)

    @override
    def forward(self, inputs: Collated) -> Features:
        vectors_BDL = self.dropout(self.table(inputs["ids"])).transpose(1, 2)
        grams_BDL = torch.cat([convolve(vectors_BDL) for convolve in self.convolutions], dim=1)
        tokens_BLD = self.dropout(functional.relu(grams_BDL)).transpose(1, 2)
        return Features(tokens_BLD, mask_of(inputs), TextLayout(inputs.get("words")))
