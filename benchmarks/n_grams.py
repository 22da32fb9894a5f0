"""Language models that count: interpolated modified Kneser-Ney.

Chen and Goodman, "An Empirical Study of Smoothing Techniques for Language Modeling", Computer
Speech & Language 1999, section 3. https://doi.org/10.1006/csla.1999.0128

Deviations: the shortest n-grams are interpolated with the uniform distribution; a discount that
does not come out between 0 and its count, as with very few n-grams, is 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_DISCOUNT = 0.5
_DISCOUNTS = 3
"""Counts of 1, of 2, and of 3 or more have one each."""


@dataclass(frozen=True)
class Order:
    """What is known of the n-grams of one length, and of their contexts, both sorted.

    An n-gram is a number: its tokens as digits to the base of the vocabulary.

    :param grams_G: The n-grams.
    :param counts_G: How often each was seen, or after how many different tokens.
    :param contexts_H: Their first n - 1 tokens.
    :param totals_H: The sum of the counts after each context.
    :param saved_H: What the discounts have taken from these.
    """

    grams_G: Ints
    counts_G: Ints
    contexts_H: Ints
    totals_H: Ints
    saved_H: Floats
    discounts: Floats


class KneserNey:
    """The probability of a token after those before it, learned by counting.

    Texts begin with their first token, which is not predicted; contexts go on before it with
    further ones of the same kind.

    :param texts: The ids of the tokens of each text, one at least.
    :param vocabulary: Number of ids there are.
    :param order: The n of the longest n-grams.
    :raises ValueError: If n-grams are too many to be numbered.
    """

    def __init__(self, texts: Sequence[Sequence[int]], vocabulary: int, order: int) -> None:
        if vocabulary**order >= 2**63:
            raise ValueError(f"{vocabulary} tokens to the power of {order} are too many n-grams")
        self._vocabulary, self._order = vocabulary, order
        self._orders: list[Order] = []
        grams_G, counts_G = np.unique(self._grams(texts, order), return_counts=True)
        for length in range(order, 0, -1):
            self._orders.insert(0, _order(grams_G, counts_G, vocabulary))
            grams_G, counts_G = np.unique(grams_G % vocabulary ** (length - 1), return_counts=True)

    @property
    def size(self) -> int:
        """Number of n-grams, of all lengths."""
        return sum(len(order.grams_G) for order in self._orders)

    def log_probabilities(self, texts: Sequence[Sequence[int]]) -> Floats:
        """Natural logarithms, of all tokens of all texts in turn but the first of each."""
        grams_N = self._grams(texts, self._order)
        chance_N = np.full(len(grams_N), 1 / self._vocabulary)
        for length, order in enumerate(self._orders, start=1):
            chance_N = self._interpolated(order, grams_N % self._vocabulary**length, chance_N)
        logs_N: Floats = np.log(chance_N)
        return logs_N

    def _interpolated(self, order: Order, grams_N: Ints, shorter_N: Floats) -> Floats:
        """Equation 8; where a context was never seen, what the shorter n-grams say."""
        context_N, known_N = _positions(order.contexts_H, grams_N // self._vocabulary)
        gram_N, seen_N = _positions(order.grams_G, grams_N)
        count_N = np.where(seen_N, order.counts_G[gram_N], 0)
        kept_N = count_N - np.where(seen_N, order.discounts[_kind(count_N)], 0.0)
        chance_N = (kept_N + order.saved_H[context_N] * shorter_N) / order.totals_H[context_N]
        return np.where(known_N, chance_N, shorter_N)

    def _grams(self, texts: Sequence[Sequence[int]], order: int) -> Ints:
        """The n-gram that ends in each token but the first of a text."""
        digits_O = self._vocabulary ** np.arange(order - 1, -1, -1)
        found = [np.zeros(0, np.int64)]
        for text in texts:
            padded_L = np.array([text[0]] * (order - 1) + list(text), dtype=np.int64)
            found.append(sliding_window_view(padded_L, order)[1:] @ digits_O)
        return np.concatenate(found)


def _order(grams_G: Ints, counts_G: Ints, vocabulary: int) -> Order:
    """Group the n-grams by their contexts."""
    discounts = discounts_of(counts_G)
    contexts_H, place_G = np.unique(grams_G // vocabulary, return_inverse=True)
    totals_H = np.bincount(place_G, counts_G).astype(np.int64)
    saved_H = np.bincount(place_G, discounts[_kind(counts_G)]).astype(np.float64)
    return Order(grams_G, counts_G, contexts_H, totals_H, saved_H, discounts)


def discounts_of(counts_G: Ints) -> Floats:
    """What is taken from counts of 0, 1, 2 and more: equation 17."""
    n = [int((counts_G == count).sum()) for count in range(_DISCOUNTS + 2)]
    found = np.zeros(_DISCOUNTS + 1)
    for count in range(1, _DISCOUNTS + 1):
        if n[1] and n[count]:
            share = n[1] / (n[1] + 2 * n[2])
            found[count] = count - (count + 1) * share * n[count + 1] / n[count]
        if not 0 < found[count] < count:
            found[count] = _DISCOUNT
    return found


def _kind(counts: Ints) -> Ints:
    return np.minimum(counts, _DISCOUNTS)


def _positions(sorted_K: Ints, wanted_N: Ints) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Where numbers are in a sorted array, and whether they are there at all."""
    place_N = np.searchsorted(sorted_K, wanted_N).clip(max=len(sorted_K) - 1)
    return place_N, sorted_K[place_N] == wanted_N
