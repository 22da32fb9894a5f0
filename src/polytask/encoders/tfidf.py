"""Tf-idf: weighted n-grams, the classic representation of a text.

Salton and Buckley, "Term-weighting approaches in automatic text retrieval", Information Processing
& Management 24, 1988. https://doi.org/10.1016/0306-4573%2888%2990021-0
Weights as in scikit-learn: (1 + ln tf) · (ln((1 + N) / (1 + df)) + 1), rows of length 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field, PositiveInt
from torch import nn
from typing_extensions import override

from polytask.core.batch import Fields, Inputs
from polytask.core.collated import Collated
from polytask.core.errors import DataError, RecipeError
from polytask.core.features import Features
from polytask.core.files import read_json, write_json
from polytask.core.padding import pad
from polytask.encoders.base import encoders
from polytask.encoders.mlp import new_mlp
from polytask.encoders.text import n_grams, text_of, words_of
from polytask.encoders.tokens import one_token
from polytask.encoders.vocabulary import PADDING
from polytask.encoders.word_encoder import LexicalEncoder, Share

_STATE = "terms.json"
_SPREAD = 0.1  # standard deviation of new weights
_LATER = "\x1f"  # marks the terms of the second text of a pair


@encoders.register("tfidf")
class TfIdf(LexicalEncoder):
    """Tf-idf weights of n-grams, then hidden layers: one token per text.

    :param search: Not used.
    :param analyzer: The units of n-grams: ``word`` or ``char``.
    :param ngrams: Lengths of the shortest and of the longest n-grams.
    :param hidden: Widths of the hidden layers, at least one.
    :param dropout: Share of the numbers that each hidden layer drops in training.
    """

    def __init__(
        self,
        search: tuple[Path, ...] = (),
        /,
        *,
        analyzer: Literal["word", "char"] = "word",
        ngrams: tuple[PositiveInt, PositiveInt] = (1, 2),
        hidden: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (128,),
        dropout: Share = 0.1,
        **options: Any,
    ) -> None:
        super().__init__(search, **options)
        if ngrams[0] > ngrams[1]:
            raise RecipeError([f"encoder.ngrams: {list(ngrams)} is not a shortest and a longest"])
        self._analyze = partial(
            _terms, characters=analyzer == "char", sizes=range(ngrams[0], ngrams[1] + 1)
        )
        self._hidden = hidden
        self._dropout = dropout

    @override
    def fit(self, rows: Iterable[Fields]) -> None:
        self._vectorizer = self._new(min_df=self.at_least, max_features=self.most)
        try:
            self._vectorizer.fit(rows)
        except ValueError as error:
            raise DataError(
                f"no term occurs in {self.at_least} of the training texts. Set encoder.min_count "
                "to 1, or check that the task's input names the column of the text."
            ) from error
        self._create()

    @override
    def prepare(self, rows: Sequence[Fields]) -> list[Inputs]:
        if not rows:  # scikit-learn wants at least one
            return []
        weights = self._vectorizer.transform(rows)
        ids, values = weights.indices + 1, weights.data
        return [
            {"ids": ids[start:end].tolist(), "weights": values[start:end].tolist()}
            for start, end in pairwise(weights.indptr)
        ]

    @override
    def num_tokens(self, inputs: Inputs) -> int:
        return max(len(inputs["ids"]), 1)

    @override
    def collate(self, rows: Sequence[Inputs]) -> Collated:
        return Collated(
            ids=pad([row["ids"] for row in rows], PADDING),
            weights=pad([row["weights"] for row in rows], 0.0, torch.float32),
        )

    @override
    def forward(self, inputs: Collated) -> Features:
        rows_BLD = self.table(inputs["ids"])
        sums_BD = (inputs["weights"].unsqueeze(1).to(rows_BLD.dtype) @ rows_BLD).squeeze(1)
        return one_token(self.hidden(sums_BD + self.bias))

    @override
    def save(self, folder: Path) -> None:
        terms = self._vectorizer.get_feature_names_out().tolist()
        write_json(folder / _STATE, {"terms": terms, "idf": self._vectorizer.idf_.tolist()})

    @override
    def restore(self, folder: Path) -> None:
        state = read_json(folder / _STATE)
        self._vectorizer = self._new(vocabulary=state["terms"])
        self._vectorizer.idf_ = np.array(state["idf"])
        self._create()

    def _new(self, **options: Any) -> Any:
        from sklearn.feature_extraction.text import TfidfVectorizer  # slow to import

        return TfidfVectorizer(analyzer=self._analyze, sublinear_tf=True, **options)

    def _create(self) -> None:
        # The first layer is a sum of weighted rows of a table, as almost all of its inputs are 0.
        terms = 1 + len(self._vectorizer.idf_)
        self.table = nn.Embedding(terms, self._hidden[0], padding_idx=PADDING)
        nn.init.normal_(self.table.weight, std=_SPREAD)
        self.bias = nn.Parameter(torch.zeros(self._hidden[0]))
        self.hidden = nn.Sequential(
            nn.ReLU(), nn.Dropout(self._dropout), *new_mlp(self._hidden, self._dropout)
        )
        self.width = self._hidden[-1]


def _terms(fields: Fields, characters: bool, sizes: range) -> Iterator[str]:
    """Yield the n-grams of each text; n-grams of a second text are marked."""
    for position, field in enumerate(fields):
        units, joint = (text_of(field), "") if characters else (words_of(field), " ")
        for gram in n_grams(units, sizes, joint):
            yield position * _LATER + gram
