"""The head of dependency parsing: every word looks for its head.

Dozat and Manning, "Deep Biaffine Attention for Neural Dependency Parsing", ICLR 2017.
https://openreview.net/forum?id=Hk95PK9le
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import override

from polytask.core.features import Features
from polytask.tasks.base import Head, HeadContext
from polytask.tasks.heads import KEPT, word_vectors

ARCS, SIDES, HEADS = "arcs_bWH", "sides_bWRK", "heads_bHK"
"""Names in the output of a ``BiaffineHead``, beside ``kept_bW``; H = W + 1, and head 0 is the root.
The score of a relation of a word to a head is the product of two vectors: see ``relation_scores``."""


class BiaffineHead(Head):
    """Scores every word as the head of every other, and prepares the scores of relations.

    Equations 4 to 6 of the paper; biases are weights of a constant 1 beside the vectors. As in
    equation 3, relations are scored to one head per word: the correct head in training, and the
    head in the best tree in prediction. Memory is W x H + W x R, not W x H x R. The root is a
    learned vector.

    :param task: Name of the task, for messages.
    :param width: D of the features.
    :param relations: Number of relations, R.
    :param dropout: Share of the features, and of the hidden layers, dropped in training.
    :param hidden: Width of what arcs are scored from.
    :param relation_hidden: Width of what relations are scored from.
    """

    def __init__(
        self,
        task: str,
        width: int,
        relations: int,
        dropout: float,
        hidden: int,
        relation_hidden: int,
    ) -> None:
        super().__init__()
        self.task = task
        self.drop = nn.Dropout(dropout)
        self.root_D = nn.Parameter(torch.randn(width) / width**0.5)
        self.arc_word, self.arc_head = (_layer(width, hidden, dropout) for _ in range(2))
        self.relation_word, self.relation_head = (
            _layer(width, relation_hidden, dropout) for _ in range(2)
        )
        self.arc = nn.Linear(hidden, hidden)
        side = relation_hidden + 1
        self.relation_RKK = nn.Parameter(torch.randn(relations, side, side) / side)

    @override
    def forward(self, features: Features, *context: HeadContext) -> dict[str, Tensor]:
        words_bWD, kept_bW = word_vectors(features, self.task)
        words_bWD = self.drop(words_bWD)
        root_bHD = self.root_D.to(words_bWD.dtype).expand(words_bWD.shape[0], 1, -1)
        heads_bHD = torch.cat([root_bHD, words_bWD], 1)
        wanted_bWK = self.arc(self.arc_word(words_bWD))
        arcs_bWH = wanted_bWK @ self.arc_head(heads_bHD).transpose(1, 2)
        words_bWK = _with_one(self.relation_word(words_bWD))
        heads_bHK = _with_one(self.relation_head(heads_bHD))
        sides_bWRK = torch.einsum("bwi,rij->bwrj", words_bWK, self.relation_RKK)
        # The lowest finite score, not -inf: a row without words must not become NaN. In place, as
        # a long row has no memory for a second matrix.
        lowest = torch.finfo(arcs_bWH.dtype).min
        arcs_bWH.masked_fill_(_possible(kept_bW).logical_not_(), lowest)
        return {ARCS: arcs_bWH, SIDES: sides_bWRK, HEADS: heads_bHK, KEPT: kept_bW}


def relation_scores(scores: dict[str, Tensor], heads_bW: Tensor) -> Tensor:
    """Score the relations of every word to one head each, relations_bWR.

    :param scores: The output of a ``BiaffineHead``, W words or more.
    :param heads_bW: The head of each word.
    """
    heads_bHK = scores[HEADS]
    index_bWK = heads_bW.unsqueeze(-1).expand(-1, -1, heads_bHK.shape[-1])
    chosen_bWK = heads_bHK.gather(1, index_bWK)
    return torch.einsum("bwrk,bwk->bwr", scores[SIDES][:, : heads_bW.shape[1]], chosen_bWK)


def _possible(kept_bW: Tensor) -> Tensor:
    """Return which heads a word can have: the root, and other words that the encoder kept."""
    places_W = torch.arange(kept_bW.shape[1], device=kept_bW.device)
    others_WW = places_W.unsqueeze(1) != places_W
    heads_bWW = kept_bW.unsqueeze(1) & others_WW
    return torch.cat([torch.ones_like(heads_bWW[..., :1]), heads_bWW], 2)


def _layer(width: int, hidden: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout))


def _with_one(vectors_bNK: Tensor) -> Tensor:
    return torch.cat([vectors_bNK, torch.ones_like(vectors_bNK[..., :1])], -1)
