"""The probability of an answer that is part of a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def span_confidence(
    answer: Sequence[Mapping[str, int]],
    edges_PL2: Tensor,
    places_PL2: Tensor,
    *,
    may_have_none: bool,
) -> float | None:
    """Return the product of the probabilities of the start and the end of an answer.

    Both are softmaxes over the tokens of the text in all windows and, if a text may have no answer,
    the score of none that decoding compares with. Tokens of several windows at the same place count together.

    :param answer: Its first character and the one after its last; empty for no answer.
    :param edges_PL2: Scores of every token of P windows to start and to end an answer; the first
        token of a window stands for no answer.
    :param places_PL2: The characters of every token, -1 for tokens that are not of the text.
    :param may_have_none: Whether no answer is one of the possibilities.
    """
    if not answer and not may_have_none:
        return None
    in_text_PL = places_PL2[..., 0] >= 0
    none_2 = edges_PL2[edges_PL2[:, 0].sum(-1).argmin(), 0]
    edges_N2, places_N2 = edges_PL2[in_text_PL], places_PL2[in_text_PL]
    if may_have_none:
        edges_N2 = torch.cat([edges_N2, none_2.unsqueeze(0)])
        places_N2 = torch.cat([places_N2, places_N2.new_full((1, 2), -1)])
    wanted_2 = torch.tensor([answer[0]["start"], answer[0]["end"]] if answer else [-1, -1])
    chances_N2 = edges_N2.double().softmax(0) * (places_N2 == wanted_2)
    return float(chances_N2.sum(0).prod())
