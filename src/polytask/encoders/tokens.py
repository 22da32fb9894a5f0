"""Prepared texts as tensors.

A prepared text is ``ids``, at least one; ``cut``, 1 if it was too long; and where there is such a
thing ``words``, the position of the first token of each word, -1 for a word that was cut off, and
``segments``, for each token of a pair, 0 or 1: the text it belongs to. If the last text is
``Located``, ``starts`` and ``ends`` are where in it each token is, -1 for tokens that are not. Of a
``Prompt``, ``said`` is how many tokens are its completion.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from polytask.core.batch import Inputs
from polytask.core.collated import Collated
from polytask.core.features import Features
from polytask.core.padding import lengths_to_mask, pad
from polytask.core.prompts import COMPLETION_LENGTH
from polytask.core.texts import ENDS, STARTS

NO_WORD = -1


def collate_tokens(rows: Sequence[Inputs], padding: int) -> Collated:
    """Stack B prepared texts.

    :param padding: The id that fills up shorter rows.
    :return: ``ids`` (B, L) and ``lengths`` (B), and if any row has them ``words`` (B, W),
        ``segments``, ``starts`` and ``ends`` (B, L), ``said`` (B). W counts no words after the
        last one that was read, so heads do no work for what was cut off.
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
    if any(row.get(COMPLETION_LENGTH) is not None for row in rows):
        tensors[COMPLETION_LENGTH] = torch.tensor([row.get(COMPLETION_LENGTH) or 0 for row in rows])
    for name in (STARTS, ENDS):
        if any(row.get(name) is not None for row in rows):
            tensors[name] = pad([row.get(name) or [-1] * len(row["ids"]) for row in rows], -1)
    return tensors


def mask_of(inputs: Collated) -> Tensor:
    """True where a token is real; shape (B, L)."""
    return lengths_to_mask(inputs["lengths"], inputs["ids"].shape[1])


def _up_to_last(words: Sequence[int]) -> Sequence[int]:
    """The words of a row without those cut off at its end."""
    stop = len(words)
    while stop and words[stop - 1] == NO_WORD:
        stop -= 1
    return words[:stop]


def one_token(vectors_BD: Tensor) -> Features:
    """One vector per row as features."""
    mask_B1 = torch.ones_like(vectors_BD[:, :1], dtype=torch.bool)
    return Features(vectors_BD.unsqueeze(1), mask_B1)
