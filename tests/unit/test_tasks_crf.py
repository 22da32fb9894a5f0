"""Conditional random fields against all sequences of small cases."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from polytask.tasks import Task, tasks
from polytask.tasks.crf import chain_losses, marginals, viterbi
from polytask.tasks.spans import read_spans, span_prefixes, valid_moves, write_spans

TAGS, WORDS = 3, 4


def case(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Scores of one row, of moves, and which words were kept."""
    generator = torch.Generator().manual_seed(seed)
    scores_WC = 2 * torch.randn(WORDS, TAGS, generator=generator)
    moves_SS = 2 * torch.randn(TAGS + 1, TAGS + 1, generator=generator)
    kept_W = torch.rand(WORDS, generator=generator) < 0.7
    kept_W[seed % WORDS] = True
    return scores_WC, moves_SS, kept_W


def all_paths(scores_WC: Tensor, moves_SS: Tensor, kept_W: Tensor) -> dict[tuple[int, ...], float]:
    """The score of every sequence of tags of the kept words."""
    places = kept_W.nonzero().flatten().tolist()
    found = {}
    for tags in itertools.product(range(TAGS), repeat=len(places)):
        states = (TAGS, *tags, TAGS)
        score = sum(moves_SS[one, other].item() for one, other in itertools.pairwise(states))
        score += sum(scores_WC[at, tag].item() for at, tag in zip(places, tags, strict=True))
        found[tags] = score
    return found


def batch(seeds: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    scores, moves, kept = zip(*map(case, seeds), strict=True)
    return torch.stack(scores), torch.stack(moves), torch.stack(kept)


SEEDS = list(range(8))


def test_losses_are_those_of_all_sequences() -> None:
    scores_bWC, moves_bSS, kept_bW = batch(SEEDS)
    tags_bW = torch.randint(TAGS, kept_bW.shape, generator=torch.Generator().manual_seed(1))
    losses_b = chain_losses(scores_bWC, moves_bSS, tags_bW, kept_bW)
    for seed in SEEDS:
        paths = all_paths(*case(seed))
        total = torch.tensor(list(paths.values())).logsumexp(0)
        own = paths[tuple(tags_bW[seed][kept_bW[seed]].tolist())]
        assert losses_b[seed].item() == pytest.approx(total.item() - own, abs=1e-4)


def test_viterbi_finds_the_best_of_all_sequences() -> None:
    scores_bWC, moves_bSS, kept_bW = batch(SEEDS)
    found_bW = viterbi(scores_bWC, moves_bSS, kept_bW)
    for seed in SEEDS:
        paths = all_paths(*case(seed))
        best = max(paths, key=lambda tags: paths[tags])
        assert tuple(found_bW[seed][kept_bW[seed]].tolist()) == best
    assert (found_bW[~kept_bW] == 0).all()


def test_marginals_are_sums_over_all_sequences() -> None:
    scores_bWC, moves_bSS, kept_bW = batch(SEEDS)
    found_bWC = marginals(scores_bWC, moves_bSS, kept_bW)
    for seed in SEEDS:
        paths = all_paths(*case(seed))
        chances = torch.tensor(list(paths.values())).softmax(0)
        sums_wC = torch.zeros(int(kept_bW[seed].sum()), TAGS)
        for tags, chance in zip(paths, chances, strict=True):
            for place, tag in enumerate(tags):
                sums_wC[place, tag] += chance
        torch.testing.assert_close(found_bWC[seed][kept_bW[seed]], sums_wC)


def test_marginals_are_the_derivative_of_the_loss() -> None:
    scores_bWC, moves_bSS, kept_bW = batch(SEEDS)
    scores_bWC.requires_grad_()
    tags_bW = torch.zeros_like(kept_bW, dtype=torch.long)
    chain_losses(scores_bWC, moves_bSS, tags_bW, kept_bW).sum().backward()
    expected_bWC = marginals(scores_bWC.detach(), moves_bSS, kept_bW)
    expected_bWC[..., 0] -= 1
    assert scores_bWC.grad is not None
    torch.testing.assert_close(scores_bWC.grad[kept_bW], expected_bWC[kept_bW])
    assert (scores_bWC.grad[~kept_bW] == 0).all()


def test_a_row_without_words_costs_nothing() -> None:
    scores_bWC, moves_bSS, _ = batch([0])
    scores_bWC.requires_grad_()
    nothing_bW = torch.zeros(1, WORDS, dtype=torch.bool)
    tags_bW = torch.full((1, WORDS), -100)
    loss = chain_losses(scores_bWC, moves_bSS, tags_bW, nothing_bW).sum()
    loss.backward()
    assert loss.item() == 0
    assert scores_bWC.grad is not None
    assert (scores_bWC.grad == 0).all()


def test_without_moves_every_word_is_alone() -> None:
    scores_bWC, moves_bSS, _ = batch(SEEDS)
    everything_bW = torch.ones(len(SEEDS), WORDS, dtype=torch.bool)
    nothing_bSS = torch.zeros_like(moves_bSS)
    torch.testing.assert_close(
        marginals(scores_bWC, nothing_bSS, everything_bW), scores_bWC.softmax(-1)
    )
    assert torch.equal(viterbi(scores_bWC, nothing_bSS, everything_bW), scores_bWC.argmax(-1))


def fitted(tags: str) -> Task:
    task = tasks.build({"kind": "tagging", "crf": True}, "t")
    task.fit([tags.split()])
    return task


@pytest.mark.parametrize(
    "tags",
    [
        "O B-x I-x B-y I-y",
        "O B-x M-x E-x S-x B-y E-y S-y",
        "B M E S",
        "O I-x I-y",
        "I-x B-x I-x O I-y",
    ],
)
def test_what_is_decoded_is_valid_whatever_the_scores(tags: str) -> None:
    task = fitted(tags)
    size = len(task.labels)
    torch.manual_seed(0)
    scores = {
        "tags_bWC": 9 * torch.randn(20, 7, size),
        "moves_bSS": torch.randn(20, size + 1, size + 1),
        "kept_bW": torch.ones(20, 7, dtype=torch.bool),
    }
    refused_SS = ~torch.tensor(valid_moves(task.labels, task.state()["scheme"]))
    moves_bSS = scores["moves_bSS"] - 1e4 * refused_SS
    for best in viterbi(scores["tags_bWC"], moves_bSS, scores["kept_bW"]).tolist():
        row = [task.labels[tag] for tag in best]
        prefixes = span_prefixes(task.state()["scheme"], task.labels)
        assert write_spans(read_spans(row), len(row), prefixes) == row
    chances = task.decode(scores, [(["w"] * 7,)] * 20).probabilities
    assert all(row.sum(-1) == pytest.approx(1) for row in chances)


def test_moves_of_bio() -> None:
    allowed = valid_moves(["O", "B-x", "I-x", "I-y"], "bio")
    assert allowed == [
        [True, True, False, True, True],
        [True, True, True, True, True],
        [True, True, True, True, True],
        [True, True, False, True, True],
        [True, True, False, True, True],
    ]


def test_moves_of_iob1_begin_with_b_only_after_their_label() -> None:
    allowed = valid_moves(["O", "B-x", "I-x", "I-y"], "iob1")
    assert allowed == [
        [True, False, True, True, True],
        [True, True, True, True, True],
        [True, True, True, True, True],
        [True, False, True, True, True],
        [True, False, True, True, True],
    ]


def test_moves_of_bmes_close_what_they_open() -> None:
    allowed = valid_moves(["O", "B-x", "E-x", "S-y"], "bmes")
    assert allowed == [
        [True, True, False, True, True],
        [False, False, True, False, False],
        [True, True, False, True, True],
        [True, True, False, True, True],
        [True, True, False, True, True],
    ]


def test_everything_may_follow_without_a_scheme() -> None:
    assert all(map(all, valid_moves(["NOUN", "VERB"], "none")))
