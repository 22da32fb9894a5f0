"""Which tokens of a text are hidden: a pure function of the text and of the draw.

Nothing is drawn from a generator. A text that is drawn again has other tokens hidden, but the same
ones whatever else is in its batch, on whichever device or rank it is, and in a resumed training.
"""

from __future__ import annotations

import torch
from torch import Tensor

_MODULUS = 2**31 - 1
_FACTORS = (48_271, 69_621, 16_807)  # products of two numbers below the modulus fit into 63 bits
_BLANKED, _CHANGED = 0.8, 0.9
_CHOICE, _KIND, _TOKEN = range(3)


def hide(ids_bL: Tensor, text_bL: Tensor, draws_b: Tensor, share: float) -> Tensor:
    """Choose a share of the tokens of every text at random, one at least: hidden_bL.

    :param text_bL: True for the tokens that may be hidden.
    :param draws_b: Texts that are drawn again have another number.
    """
    wanted_b = hidden_count(text_bL.sum(1), share)
    random_bL = uniform(ids_bL, text_bL, draws_b, _CHOICE).masked_fill(~text_bL, 2.0)
    rank_bL = random_bL.argsort(dim=1, stable=True).argsort(dim=1)
    return (rank_bL < wanted_b.unsqueeze(1)) & text_bL


def hidden_count(tokens_b: Tensor, share: float) -> Tensor:
    """How many tokens are hidden in texts of that many."""
    return (tokens_b * share).round().clamp(min=1).long()


def blank_out(
    ids_bL: Tensor, hidden_bL: Tensor, draws_b: Tensor, blank: int, vocabulary: int
) -> Tensor:
    """Replace hidden tokens: 8 of 10 by the blank, 1 by any token, 1 by itself.

    Devlin et al., "BERT", NAACL 2019, section 3.1. https://doi.org/10.18653/v1/N19-1423

    :param vocabulary: Number of ids there are.
    """
    kind_bL = uniform(ids_bL, hidden_bL, draws_b, _KIND)
    other_bL = (uniform(ids_bL, hidden_bL, draws_b, _TOKEN) * vocabulary).long()
    changed_bL = torch.where(kind_bL < _CHANGED, other_bL.clamp(max=vocabulary - 1), ids_bL)
    changed_bL = torch.where(kind_bL < _BLANKED, blank, changed_bL)
    return torch.where(hidden_bL, changed_bL, ids_bL)


def places_of(chosen_bL: Tensor) -> tuple[Tensor, Tensor]:
    """Return the positions of chosen tokens, ascending, K in the row with most: places_bK, kept_bK."""
    counts_b = chosen_bL.sum(1)
    most = max(1, int(counts_b.max())) if len(counts_b) else 1
    places_bK = (~chosen_bL).long().argsort(dim=1, stable=True)[:, :most]
    kept_bK = torch.arange(places_bK.shape[1], device=chosen_bL.device) < counts_b.unsqueeze(1)
    return places_bK, kept_bK


def uniform(ids_bL: Tensor, text_bL: Tensor, draws_b: Tensor, purpose: int) -> Tensor:
    """Return a number in [0, 1) for each token, from its place, the draw and all tokens of its text.

    Steps of a multiplicative congruential generator mix the numbers, which is random enough to
    choose tokens by.

    :param text_bL: True for the tokens that the numbers depend on.
    :param purpose: Numbers for different purposes are unrelated.
    """
    place_L = _mix(torch.arange(1, ids_bL.shape[1] + 1, device=ids_bL.device))
    text_b = (_mix(ids_bL + place_L) * text_bL).sum(1)
    seed_b = _mix(text_b + _mix(draws_b + _FACTORS[purpose]))
    numbers_bL = _mix(seed_b.unsqueeze(1) + place_L).float() / _MODULUS
    return numbers_bL.clamp(max=1 - torch.finfo(torch.float).eps)


def _mix(numbers: Tensor) -> Tensor:
    """Whole numbers to whole numbers below the modulus that look random."""
    numbers = numbers % _MODULUS
    for factor in _FACTORS:
        numbers = (numbers * factor + 12_345) % _MODULUS
        numbers = (numbers ^ (numbers >> 15)) % _MODULUS
    return numbers
