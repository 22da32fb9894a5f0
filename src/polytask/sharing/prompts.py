"""Room for learned tokens in front of a text, in any encoder that looks tokens up in a table.

Inputs are made longer by copies of each text's first token, so that masks, positions and whatever
else an encoder derives from them are right; then the vectors of the copies are replaced. What the
encoder gives for them is left out of the features, so that heads read the tokens of the text alone.
Where the encoder has no more positions, the end of the text makes room.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from polytask.core.collated import Collated
from polytask.core.features import Features, TextLayout

_PER_TOKEN = ("ids", "segments")
_POSITIONS = "words"
_LENGTHS = "lengths"


def with_room(inputs: Collated, room: int, longest: int | None) -> Collated:
    """Inputs that begin with some tokens more.

    :param longest: Most tokens that the encoder reads; None if there is no limit.
    """
    kept = inputs["ids"].shape[1]
    kept = kept if longest is None else min(kept, longest - room)
    longer = Collated(inputs)
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


def without_room(features: Features, room: int, inputs: Collated) -> Features:
    """The features of the text itself; an encoder that gives one token a text gives that.

    :param inputs: What the encoder read.
    """
    if features.mask_BL.shape[1] != inputs["ids"].shape[1]:
        return features
    layout = features.layout
    if isinstance(layout, TextLayout) and layout.words_BW is not None:
        words_BW = torch.where(layout.words_BW < 0, -1, layout.words_BW - room)
        layout = replace(layout, words_BW=words_BW)
    tokens_BLD, mask_BL = features.tokens_BLD[:, room:], features.mask_BL[:, room:]
    return replace(features, tokens_BLD=tokens_BLD, mask_BL=mask_BL, layout=layout)


def in_front(vectors_VRD: Tensor, hidden_VLD: Tensor) -> Tensor:
    """Hidden states, the first R of which are replaced."""
    vectors_VRD = vectors_VRD.to(hidden_VLD.dtype)
    return torch.cat([vectors_VRD, hidden_VLD[:, vectors_VRD.shape[1] :]], dim=1)


def word_vectors(table: nn.Embedding, count: int) -> Tensor:
    """The vectors of some words of the table, drawn at random."""
    weight_ND = table.weight.detach()
    return weight_ND[torch.randint(len(weight_ND), (count,))].clone()
