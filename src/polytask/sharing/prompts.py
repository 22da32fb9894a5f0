"""Room for learned tokens in front of a text, in any encoder that looks tokens up in a table.

Inputs are made longer by copies of each text's first token, so that masks, positions and whatever
else an encoder derives from them are right; then the vectors of the copies are replaced. What the
encoder gives for them is left out of the features, so that heads read the tokens of the text alone.
Where the encoder has no more positions, the end of the text makes room.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from polytask.core.encoder import Encoder
from polytask.core.features import Features

_PER_TOKEN = ("ids", "segments")
_POSITIONS = "words"
_LENGTHS = "lengths"


def with_room(inputs: Mapping[str, Tensor], room: int, longest: int | None) -> dict[str, Tensor]:
    """Inputs that begin with some tokens more.

    :param longest: Most tokens that the encoder reads; None if there is no limit.
    """
    kept = inputs["ids"].shape[1]
    kept = kept if longest is None else min(kept, longest - room)
    longer = dict(inputs)
    for name in _PER_TOKEN:
        if name in inputs:
            values_BL = inputs[name]
            longer[name] = torch.cat([values_BL[:, :1].expand(-1, room), values_BL[:, :kept]], 1)
    if _LENGTHS in inputs:
        longer[_LENGTHS] = inputs[_LENGTHS].clamp(max=kept) + room
    if _POSITIONS in inputs:
        words_BW = inputs[_POSITIONS]
        there_BW = (words_BW >= 0) & (words_BW < kept)
        longer[_POSITIONS] = torch.where(there_BW, words_BW + room, -1)
    return longer


def without_room(features: Features, room: int, inputs: Mapping[str, Tensor]) -> Features:
    """The features of the text itself; an encoder that gives one token a text gives that.

    :param inputs: What the encoder read.
    """
    if features.mask_BL.shape[1] != inputs["ids"].shape[1]:
        return features
    words_BW = features.words_BW
    return replace(
        features,
        tokens_BLD=features.tokens_BLD[:, room:],
        mask_BL=features.mask_BL[:, room:],
        words_BW=None if words_BW is None else torch.where(words_BW < 0, -1, words_BW - room),
    )


def in_front(vectors_VRD: Tensor, hidden_VLD: Tensor) -> Tensor:
    """Hidden states, the first R of which are replaced."""
    vectors_VRD = vectors_VRD.to(hidden_VLD.dtype)
    return torch.cat([vectors_VRD, hidden_VLD[:, vectors_VRD.shape[1] :]], dim=1)


def word_vectors(encoder: Encoder, count: int) -> Tensor:
    """The vectors of some words of the table, drawn at random."""
    assert encoder.embedding is not None
    weight_ND = encoder.embedding.weight.detach()
    return weight_ND[torch.randint(len(weight_ND), (count,))].clone()
