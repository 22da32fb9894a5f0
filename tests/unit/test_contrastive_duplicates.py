"""Texts that a batch holds twice are no wrong answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from polytask.encoders import encoders
from polytask.tasks import tasks
from polytask.tasks.embedding import contrastive_loss, text_id
from polytask.tasks.losses import total


def brute_force(vectors_bPD: torch.Tensor, texts: list[list[str]], temperature: float) -> float:
    """The loss, anchor by anchor and candidate by candidate."""
    candidates = [(row, at) for row, own in enumerate(texts) for at in range(1, len(own))]
    losses = []
    for row, (anchor, partner, *_) in enumerate(texts):
        right = {own[1] for own in texts if own[0] == anchor} | {anchor}
        kept = [
            (other, at)
            for other, at in candidates
            if (other, at) == (row, 1) or texts[other][at] not in right
        ]
        assert partner in right
        cosines = [float(vectors_bPD[row, 0] @ vectors_bPD[other, at]) for other, at in kept]
        logits = np.array(cosines) / temperature
        losses.append(np.logaddexp.reduce(logits) - logits[kept.index((row, 1))])
    return float(np.mean(losses))


@pytest.mark.parametrize(
    "texts",
    [
        [["a", "b"], ["c", "d"], ["e", "f"]],
        [["a", "b"], ["c", "b"], ["e", "f"]],  # a partner twice
        [["a", "b"], ["a", "d"], ["e", "f"]],  # an anchor twice
        [["a", "b"], ["b", "a"], ["e", "f"]],  # a pair and its mirror
        [["a", "a"], ["b", "b"], ["a", "a"]],
        [["a", "b", "c"], ["d", "e", "b"], ["f", "g"]],  # a partner among other texts
        [["a", "b", "d"], ["d", "e", "f", "b"], ["g", "h"]],
        [["a", "b"]] * 8,
    ],
)
def test_the_loss_is_that_of_a_loop_over_texts(texts: list[list[str]]) -> None:
    torch.manual_seed(0)
    width = max(map(len, texts)) + 1  # some other row of the batch is wider
    vectors_bPD = functional.normalize(torch.randn(len(texts), width, 5), dim=-1)
    there_bP = torch.tensor([[at < len(own) for at in range(width)] for own in texts])
    ids = [[ord(text) for text in own] + [-1] * (width - 1 - len(own)) for own in texts]
    loss = contrastive_loss(vectors_bPD, there_bP, 0.3, torch.tensor(ids))
    assert loss.item() == pytest.approx(brute_force(vectors_bPD, texts, 0.3), rel=1e-5, abs=1e-6)


def test_equal_rows_cost_nothing_though_dropout_makes_their_vectors_differ() -> None:
    fields = [("good day", "guten tag")] * 8
    encoder = encoders.build({"kind": "bag", "min_count": 1}, ())
    encoder.fit(fields)
    inputs = [encoder.prepare([(one,) for one in row]) for row in fields]
    task = tasks.build("embedding", "t")
    task.fit([1.0] * 8)
    targets = [task.encode(1.0, {"texts": texts}) for texts in inputs]
    torch.manual_seed(0)
    vectors = functional.normalize(torch.randn(8, 2, 4, requires_grad=True), dim=-1)
    scores = {"vectors_bPD": vectors, "there_bP": torch.ones(8, 2, dtype=torch.bool)}
    assert total(task.loss(scores, task.collate(targets))).item() == 0
    same = torch.eye(4)[:1].expand(8, 2, 4)
    assert contrastive_loss(same, torch.ones(8, 2, dtype=torch.bool), 0.05).item() == 0


def test_different_texts_give_the_plain_cross_entropy_bit_for_bit() -> None:
    torch.manual_seed(0)
    vectors = functional.normalize(torch.randn(16, 2, 8), dim=-1)
    there = torch.ones(16, 2, dtype=torch.bool)
    plain = functional.cross_entropy(vectors[:, 0] @ vectors[:, 1].T / 0.05, torch.arange(16))
    ids = torch.arange(32).view(16, 2)
    assert torch.equal(contrastive_loss(vectors, there, 0.05, ids), plain)
    assert torch.equal(contrastive_loss(vectors, there, 0.05), plain)


def test_a_triplet_does_not_push_away_its_partner() -> None:
    task = tasks.build({"kind": "embedding", "loss": "triplet", "margin": 0.5}, "t")
    task.fit([1.0])
    cosines = torch.tensor([[1.0, 0.0, 0.3, 0.9]])
    vectors = torch.stack([cosines, (1 - cosines**2).sqrt()], -1)
    scores = {"vectors_bPD": vectors, "there_bP": torch.ones(1, 4, dtype=torch.bool)}
    anchor, partner, other = 1, 2, 3
    equal = total(task.loss(scores, torch.tensor([[anchor, partner, other, partner]])))
    assert equal.item() == pytest.approx(0.5 - 0.0 + 0.3)
    two = total(task.loss(scores, torch.tensor([[anchor, partner, other, 4]])))
    assert two.item() == pytest.approx(((0.5 + 0.3) + (0.5 + 0.9)) / 2)


def test_numbers_of_texts_are_those_of_their_inputs() -> None:
    one = {"ids": [1, 2], "starts": np.array([0, 3])}
    assert text_id(one) == text_id({"starts": [0, 3], "ids": [1, 2]})
    assert text_id(one) != text_id({**one, "ids": [2, 1]})
    assert 0 <= text_id(one) < 2**63
