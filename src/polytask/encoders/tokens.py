"""Prepared texts as tensors.

A prepared text has these entries; only the first two are always there:

- ``ids``: the ids of its tokens, at least one.
- ``cut``: 1 if it was too long.
- ``words``: the position of the first token of each word; -1 for a word that was cut off.
- ``segments``: for each token of a pair, the text that it belongs to, 0 or 1.
- ``starts``, ``ends``: the characters of the last text (``Located``) at which each token starts and
  ends; -1 for other tokens.
- ``learned``: the weight of each token of a prompt or conversation in the loss.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence

import torch
from torch import Tensor
from typing_extensions import override

from polytask.core.batch import Inputs
from polytask.core.capabilities import TokenTable
from polytask.core.collated import Collated
from polytask.core.encoder import Encoder
from polytask.core.features import Features
from polytask.core.padding import lengths_to_mask, pad
from polytask.core.prompts import LEARNED
from polytask.core.texts import ENDS, STARTS

NO_WORD = -1


class TokenEncoder(Encoder, TokenTable, ABC):
    """Base of encoders whose prepared rows are the ids of tokens."""

    padding: int = 0
    """The id that fills up shorter rows."""

    @override
    def num_tokens(self, inputs: Inputs) -> int:
        return len(inputs["ids"])

    @override
    def collate(self, rows: Sequence[Inputs]) -> Collated:
        return collate_tokens(rows, self.padding)


def collate_tokens(rows: Sequence[Inputs], padding: int) -> Collated:
    """Stack B prepared texts.

    :param padding: The id that fills up shorter rows.
    :return: ``ids`` (B, L) and ``lengths`` (B), and if any row has them ``words`` (B, W),
        ``segments``, ``starts``, ``ends`` and ``learned`` (B, L). W ends at the last word that was
        read, so heads do no work for words that were cut off.
    """
    tensors = Collated(
        ids=pad([row["ids"] for row in rows], padding),
        lengths=torch.tensor([len(row["ids"]) for row in rows]),
    )
    if any(row.get("words") is not None for row in rows):
        tensors["words"] = pad([_up_to_last(row.get("words") or ()) for row in rows], NO_WORD)
    if any(row.get("segments") is not None for row in rows):
        segments = [row.get("segments") or [0] * len(row["ids"]) for row in rows]
        tensors["segments"] = pad(segments, 0)
    if any(row.get(LEARNED) is not None for row in rows):
        tensors[LEARNED] = pad([row.get(LEARNED) or () for row in rows], 0, torch.float)
    for name in (STARTS, ENDS):
        if any(row.get(name) is not None for row in rows):
            tensors[name] = pad([row.get(name) or [-1] * len(row["ids"]) for row in rows], -1)
    return tensors


def mask_of(inputs: Collated) -> Tensor:
    """Return a mask (B, L) that is True where a token is real."""
    return lengths_to_mask(inputs["lengths"], inputs["ids"].shape[1])


def _up_to_last(words: Sequence[int]) -> Sequence[int]:
    """Return the words of a row up to the last one that was not cut off."""
    stop = len(words)
    while stop and words[stop - 1] == NO_WORD:
        stop -= 1
    return words[:stop]


def one_token(vectors_BD: Tensor) -> Features:
    """Return features with one token per row, (B, 1, D)."""
    mask_B1 = torch.ones_like(vectors_BD[:, :1], dtype=torch.bool)
    return Features(vectors_BD.unsqueeze(1), mask_B1)
