"""Searching for sequences, on models of a few tokens that are tables."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from polytask.tasks.search import Search, beam

END, PADDING, START = 1, 0, 2
VOCABULARY, LONGEST = 5, 4
TOKENS = range(1, VOCABULARY)


def table(seed: int) -> Tensor:
    """Log-probabilities of each token after each pair of tokens; padding is never written."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(VOCABULARY, VOCABULARY, VOCABULARY, generator=generator)
    logits[..., PADDING] = -torch.inf
    return logits.log_softmax(-1)


def step_of(logs: Tensor) -> Any:
    """The state is the token before the last one."""

    def step(last_n: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return logs[state, last_n], last_n

    return step


def found(search: Search, seed: int, rows: int = 1) -> list[int]:
    start_b = torch.full((rows,), START)
    ids_bT = search(step_of(table(seed)), start_b, torch.zeros(rows, dtype=torch.long))
    ids = ids_bT[0].tolist()
    assert all(row.tolist() == ids for row in ids_bT)
    return ids[: ids.index(END) + 1] if END in ids else ids


def log_probability(ids: list[int], seed: int) -> float:
    logs = table(seed)
    before = [PADDING, START, *ids]
    return sum(float(logs[a, b, c]) for a, b, c in zip(before, before[1:], ids, strict=False))


def test_greedy_takes_the_best_token_each_time() -> None:
    ids = found(Search(LONGEST, END, PADDING), 0)
    before = [PADDING, START, *ids]
    for one, two, chosen in zip(before, before[1:], ids, strict=False):
        assert chosen == int(table(0)[one, two].argmax())


@pytest.mark.parametrize("seed", range(8))
def test_following_one_sequence_is_greedy(seed: int) -> None:
    search = Search(LONGEST, END, PADDING, beam=1)
    start_b, state = torch.full((2,), START), torch.zeros(2, dtype=torch.long)
    ids_bT = beam(search, step_of(table(seed)), start_b, state)
    greedy_bT = search(step_of(table(seed)), start_b, state)
    assert ids_bT[:, : greedy_bT.shape[1]].tolist() == greedy_bT.tolist()
    assert (ids_bT[:, greedy_bT.shape[1] :] == PADDING).all()


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_following_all_sequences_finds_the_best_that_ends(seed: int, penalty: float) -> None:
    every = len(TOKENS) ** LONGEST
    search = Search(LONGEST, END, PADDING, beam=every, length_penalty=penalty)
    ended = [
        [*body, END]
        for size in range(LONGEST)
        for body in itertools.product([token for token in TOKENS if token != END], repeat=size)
    ]

    def worth(ids: list[int]) -> float:
        return float(search.normalise_scores(torch.tensor(log_probability(ids, seed)), len(ids)))

    assert found(search, seed, rows=2) == max(ended, key=worth)


def test_a_wider_beam_is_worth_no_less_on_the_whole() -> None:
    def worth(width: int) -> float:
        search = Search(12, END, PADDING, beam=width, length_penalty=0.0)
        return sum(log_probability(found(search, seed), seed) for seed in range(40))

    assert worth(1) < worth(3) <= worth(9) + 1e-6


def test_equation_14() -> None:
    search = Search(9, END, PADDING, length_penalty=0.5)
    assert float(search.normalise_scores(torch.tensor(-6.0), 1)) == -6.0
    assert float(search.normalise_scores(torch.tensor(-6.0), 19)) == pytest.approx(-3.0)


def test_drawing_follows_the_probabilities_and_repeats_itself() -> None:
    logs = torch.tensor([0.0, 0.2, 0.5, 0.3]).log()
    rows = 4000

    def step(last_n: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return logs.expand(len(last_n), -1), state

    search = Search(1, END, PADDING, temperature=1.0)
    start_b = torch.full((rows,), START)
    drawn_bT = search(step, start_b, start_b)
    shares = torch.bincount(drawn_bT[:, 0], minlength=4) / rows
    torch.testing.assert_close(shares, logs.exp(), rtol=0, atol=0.03)
    assert torch.equal(drawn_bT, search(step, start_b, start_b))
    cold = Search(1, END, PADDING, temperature=0.01)
    assert (cold(step, start_b, start_b) == 2).all()
