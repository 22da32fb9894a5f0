"""Kneser-Ney models of language, compared with the formulas written out."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.n_grams import KneserNey, discounts_of

VOCABULARY = 6
TEXTS = np.random.default_rng(0).choice([1, 2, 3, 4], (60, 7), p=[0.1, 0.2, 0.3, 0.4]).tolist()
TEXTS = [[0, *text[: 3 + place % 5]] for place, text in enumerate(TEXTS)]


def chances(model: KneserNey, context: Sequence[int]) -> list[float]:
    """Of every token after some others, the first of which begins a text."""
    texts = [[*context, token] for token in range(VOCABULARY)]
    size = len(context)
    return [*np.exp(model.log_probabilities(texts)[size - 1 :: size])]


def plain(context: tuple[int, ...], token: int, order: int) -> float:
    """Equation 8, with sums over dicts; ``context`` is as long as the longest there is."""
    first = order == 1  # the first token of a text is not predicted
    padded = [[text[0]] * (order - 2) + text[first:] for text in TEXTS]
    grams = Counter(
        tuple(text[place : place + order])
        for text in padded
        for place in range(len(text) - order + 1)
    )

    def chance(counts: Counter[tuple[int, ...]], context: tuple[int, ...]) -> float:
        shorter = Counter(gram[1:] for gram in counts)
        below = chance(shorter, context[1:]) if context else 1 / VOCABULARY
        after = {gram[-1]: n for gram, n in counts.items() if gram[:-1] == context}
        if not after:
            return below
        taken = discounts_of(np.array([*counts.values()]))
        saved = sum(taken[min(n, 3)] for n in after.values())
        own = after.get(token, 0) - taken[min(after.get(token, 0), 3)]
        return float(own + saved * below) / sum(after.values())

    return chance(grams, context)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_probabilities_are_those_of_the_formulas(order: int) -> None:
    model = KneserNey(TEXTS, VOCABULARY, order)
    for context in itertools.product([1, 3, 5], repeat=2):
        padded = (0,) * order + context
        found = chances(model, [0, *context])
        for token in range(VOCABULARY):
            wanted = plain(padded[len(padded) - order + 1 :], token, order)
            assert found[token] == pytest.approx(wanted)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("context", [[0], [0, 4], [0, 4, 3, 4], [0, 5, 5]])
def test_probabilities_sum_to_one(order: int, context: list[int]) -> None:
    assert sum(chances(KneserNey(TEXTS, VOCABULARY, order), context)) == pytest.approx(1)


def test_every_token_but_the_first_is_predicted() -> None:
    model = KneserNey(TEXTS, VOCABULARY, 3)
    found = model.log_probabilities([[0, 1, 2], [0], [0, 3]])
    assert found.shape == (3,)
    assert found[:2].tolist() == model.log_probabilities([[0, 1, 2]]).tolist()
    assert (found < 0).all()


def test_a_longer_context_helps_where_it_decides() -> None:
    texts = [[0, *itertools.islice(itertools.cycle([1, 2, 1, 3]), 12)] for _ in range(20)]
    costs = [
        -KneserNey(texts, VOCABULARY, order).log_probabilities(texts).mean() for order in (1, 2, 3)
    ]
    assert costs[0] > costs[1] > costs[2]


def test_discounts_are_those_of_the_paper() -> None:
    counts = np.array([1] * 4 + [2] * 2 + [3] + [4])
    share = 4 / (4 + 2 * 2)
    assert discounts_of(counts).tolist() == pytest.approx(
        [0, 1 - 2 * share * 2 / 4, 2 - 3 * share * 1 / 2, 3 - 4 * share * 1]
    )


def test_n_grams_that_cannot_be_numbered_are_refused() -> None:
    with pytest.raises(ValueError, match="50000 tokens to the power of 5"):
        KneserNey([[0, 1]], 50_000, 5)
    assert math.isfinite(KneserNey([[0, 1]], 50_000, 3).log_probabilities([[0, 2]])[0])
