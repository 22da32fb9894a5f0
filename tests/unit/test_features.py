"""What encoders produce and heads consume."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from polytask.core.batch import Batch, Targets, move
from polytask.core.collated import Collated
from polytask.core.features import Features, TextLayout


def make(words: bool = True) -> Features:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([3, 1, 4, 2])
    return Features(
        torch.randn(4, 4, 2, generator=generator),
        torch.arange(4) < lengths.unsqueeze(1),
        TextLayout(torch.tensor([[0, 2], [0, -1], [0, 3], [1, -1]])) if words else None,
    )


@pytest.mark.parametrize("rows", [[2], [0, 3], [1, 2, 3], [0, 1, 2, 3], []])
@pytest.mark.parametrize("words", [True, False])
def test_rows_are_selected(rows: list[int], words: bool) -> None:
    features = make(words)
    selected = features.select(torch.tensor(rows, dtype=torch.long))
    assert len(selected.mask_BL) == len(rows)
    for position, row in enumerate(rows):
        assert_close(selected.tokens_BLD[position], features.tokens_BLD[row])
        assert_close(selected.mask_BL[position], features.mask_BL[row])
        if features.words_BW is not None:
            assert selected.words_BW is not None
            assert_close(selected.words_BW[position], features.words_BW[row])
    assert (selected.words_BW is None) == (not words)


def test_all_rows_in_order_are_not_copied() -> None:
    features = make()
    assert features.select(torch.arange(4)) is features


def test_selecting_looks_at_no_values() -> None:
    features = Features(torch.empty(4, 4, 2, device="meta"), torch.empty(4, 4, device="meta"))
    for rows in (2, 4):  # numbers on the meta device cannot be read
        selected = features.select(torch.empty(rows, dtype=torch.long, device="meta"))
        assert selected.tokens_BLD.shape == (rows, 4, 2)


def test_the_mean_is_that_of_real_tokens() -> None:
    features = make()
    tokens_BLD = features.tokens_BLD
    assert_close(features.mean_BD[0], tokens_BLD[0, :3].mean(0))
    assert_close(features.mean_BD[1], tokens_BLD[1, 0])
    assert_close(features.first_BD, tokens_BLD[:, 0])


def test_the_mean_of_no_tokens_is_zero() -> None:
    features = Features(torch.randn(1, 3, 2), torch.zeros(1, 3, dtype=torch.bool))
    assert_close(features.mean_BD, torch.zeros(1, 2))


def batch() -> Batch:
    targets = {
        "a": Targets(torch.tensor([0, 1]), torch.tensor([1, 0])),
        "b": Targets(torch.tensor([1]), {"tags": torch.tensor([[2]])}),
    }
    return Batch(Collated(ids=torch.ones(2, 3)), targets, 2, tokens=5, padded=6)


def test_a_batch_without_tasks_keeps_its_rows() -> None:
    whole = batch()
    kept = whole.without(frozenset({"a", "unknown"}))
    assert [*kept.targets] == ["b"]
    assert kept.inputs is whole.inputs
    assert (kept.size, kept.tokens, kept.padded) == (2, 5, 6)
    assert [*whole.targets] == ["a", "b"]


def test_a_batch_moves_as_a_whole() -> None:
    moved = batch().to(torch.device("meta"))
    assert moved.inputs["ids"].device.type == "meta"
    assert moved.targets["a"].rows_b.device.type == "meta"
    assert moved.targets["b"].values["tags"].device.type == "meta"
    assert (moved.size, moved.tokens, moved.padded) == (2, 5, 6)


def test_nests_move_and_other_values_stay() -> None:
    moved = move({"a": [torch.ones(1), (torch.ones(2), "text")], "b": 3}, torch.device("meta"))
    assert moved["a"][0].device.type == moved["a"][1][0].device.type == "meta"
    assert moved["a"][1][1] == "text"
    assert moved["b"] == 3
