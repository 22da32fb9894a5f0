"""A bag of word vectors.

Iyyer, Manjunatha, Boyd-Graber and Daumé, "Deep Unordered Composition Rivals Syntactic Methods for
Text Classification", ACL 2015, section 3. https://aclanthology.org/P15-1162
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import PositiveInt
from typing_extensions import override

from polytask.core.collated import Collated
from polytask.core.features import Features
from polytask.encoders.base import encoders
from polytask.encoders.mlp import new_mlp
from polytask.encoders.tokens import one_token
from polytask.encoders.word_encoder import Share, WordEncoder


@encoders.register("bag")
class Bag(WordEncoder):
    """The mean of the word vectors, then hidden layers: one token per text.

    :param search: Folders in which ``vectors`` is looked up.
    :param hidden: Widths of the hidden layers.
    :param dropout: Share of the numbers that each hidden layer drops in training.
    """

    points_at_words: ClassVar[bool] = False

    def __init__(
        self,
        search: tuple[Path, ...] = (),
        /,
        *,
        hidden: tuple[PositiveInt, ...] = (128,),
        dropout: Share = 0.1,
        **options: Any,
    ) -> None:
        super().__init__(search, **options)
        self._hidden = hidden
        self._dropout = dropout

    @override
    def build(self, dimension: int) -> None:
        widths = (dimension, *self._hidden)
        self.hidden = new_mlp(widths, self._dropout)
        self.width = widths[-1]

    @override
    def forward(self, inputs: Collated) -> Features:
        sums_BD = self.table(inputs["ids"]).sum(1)  # the vector of padding is zero
        return one_token(self.hidden(sums_BD / inputs["lengths"].unsqueeze(1)))
