"""The head of dependency parsing: every word looks for its head.

Dozat and Manning, "Deep Biaffine Attention for Neural Dependency Parsing", ICLR 2017.
https://openreview.net/forum?id=Hk95PK9le
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import override

from polytask.core.features import Features
from polytask.tasks.base import Head, Reading
from polytask.tasks.heads import KEPT, word_vectors

ARCS, RELATIONS = "arcs_bWH", "relations_bWHR"
"""What a ``BiaffineHead`` returns beside ``kept_bW``; H = W + 1, head 0 being the root."""


class BiaffineHead(Head):
    """Scores every word as the head of every other, and the relations between them.

    Equations 4 to 6 of the paper, the biases of which are weights of a constant 1 beside the
    vectors; equation 3 is replaced: all pairs of words are scored, and relations need not wait for
    heads to be chosen. The root is a learned vector.

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
    def forward(self, features: Features, *reading: Reading) -> dict[str, Tensor]:
        words_bWD, kept_bW = word_vectors(features, self.task)
        words_bWD = self.drop(words_bWD)
        root_bHD = self.root_D.to(words_bWD.dtype).expand(words_bWD.shape[0], 1, -1)
        heads_bHD = torch.cat([root_bHD, words_bWD], 1)
        wanted_bWK = self.arc(self.arc_word(words_bWD))
        arcs_bWH = wanted_bWK @ self.arc_head(heads_bHD).transpose(1, 2)
        words_bWK = _with_one(self.relation_word(words_bWD))
        heads_bHK = _with_one(self.relation_head(heads_bHD))
        sides_bWRK = torch.einsum("bwi,rij->bwrj", words_bWK, self.relation_RKK)
        relations_bWHR = torch.einsum("bwrj,bhj->bwhr", sides_bWRK, heads_bHK)
        # The lowest finite score, not -inf: a row without words must not become NaN.
        lowest = torch.finfo(arcs_bWH.dtype).min
        arcs_bWH = arcs_bWH.masked_fill(~_possible(kept_bW), lowest)
        return {ARCS: arcs_bWH, RELATIONS: relations_bWHR, KEPT: kept_bW}


def _possible(kept_bW: Tensor) -> Tensor:
    """Which heads a word can have: the root, and other words that the encoder kept."""
    places_W = torch.arange(kept_bW.shape[1], device=kept_bW.device)
    others_WW = places_W.unsqueeze(1) != places_W
    heads_bWW = kept_bW.unsqueeze(1) & others_WW
    return torch.cat([torch.ones_like(heads_bWW[..., :1]), heads_bWW], 2)


def _layer(width: int, hidden: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout))


def _with_one(vectors_bNK: Tensor) -> Tensor:
    return torch.cat([vectors_bNK, torch.ones_like(vectors_bNK[..., :1])], -1)
