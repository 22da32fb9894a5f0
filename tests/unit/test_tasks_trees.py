"""Spanning trees against all trees of small cases; parsing where rows are cut off."""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from polytask.core.errors import DataError, RecipeError
from polytask.core.features import Features, TextLayout
from polytask.tasks import Task, metrics, tasks
from polytask.tasks.losses import total
from polytask.tasks.spanning_tree import Floats, best_tree


def is_tree(heads: list[int]) -> bool:
    """Whether one word hangs from the root, and all words from that one."""
    if heads.count(0) != 1:
        return False
    for start in range(1, len(heads) + 1):
        node, steps = start, 0
        while node and steps <= len(heads):
            node, steps = heads[node - 1], steps + 1
        if node:
            return False
    return True


def best_of_all(scores_WH: Floats) -> float:
    words = len(scores_WH)
    trees = filter(is_tree, map(list, itertools.product(range(words + 1), repeat=words)))
    return max(score_of(scores_WH, tree) for tree in trees)


def score_of(scores_WH: Floats, heads: list[int]) -> float:
    return float(sum(scores_WH[word, head] for word, head in enumerate(heads)))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.integers(0, 10_000), st.booleans())
def test_no_tree_is_better(words: int, seed: int, ties: bool) -> None:
    scores_WH = 5 * np.random.default_rng(seed).standard_normal((words, words + 1))
    if ties:
        scores_WH = scores_WH.round()
    heads = best_tree(scores_WH).tolist()
    assert is_tree(heads)
    assert score_of(scores_WH, heads) == pytest.approx(best_of_all(scores_WH))


def test_a_tree_in_which_every_word_prefers_the_root_has_one_root() -> None:
    scores_WH = np.zeros((4, 5))
    scores_WH[:, 0] = [50, 60, 50, 50]
    heads = best_tree(scores_WH).tolist()
    assert is_tree(heads)
    assert heads[1] == 0


def test_scores_of_words_as_their_own_heads_do_not_matter() -> None:
    """Heads score them with the lowest number there is, beside which all others are equal."""
    scores_WH = np.random.default_rng(0).standard_normal((9, 10))
    expected = best_tree(scores_WH)
    scores_WH[np.arange(9), np.arange(1, 10)] = np.finfo(np.float32).min
    assert best_tree(scores_WH).tolist() == expected.tolist()


def test_no_words_no_heads() -> None:
    assert best_tree(np.zeros((0, 1))).tolist() == []


def test_long_sentences_take_no_time() -> None:
    scores_WH = np.random.default_rng(0).standard_normal((150, 151))
    start = time.perf_counter()
    assert is_tree(best_tree(scores_WH).tolist())
    assert time.perf_counter() - start < 1


ROWS: list[dict[str, Any]] = [
    {"head": [2, 0, 2], "deprel": ["det", "root", "punct"]},
    {"head": ["0", "1"], "deprel": ["root", "punct"]},
]


def fitted(**options: object) -> Task:
    task = tasks.build({"kind": "parsing", "target": "head", **options}, "tree")
    task.fit([task.training_label(row) for row in ROWS])
    return task


def scores_of(heads: list[int | None]) -> dict[str, torch.Tensor]:
    """Scores that want these heads and relation 0; None is a word that was cut off."""
    width = len(heads)
    arcs_bWH = torch.zeros(1, width, width + 1)
    for word, head in enumerate(heads):
        if head is not None:
            arcs_bWH[0, word, head] = 30
    return {
        "arcs_bWH": arcs_bWH,
        "sides_bWRK": torch.eye(3)[0].reshape(3, 1).expand(1, width, 3, 1),
        "heads_bHK": torch.ones(1, width + 1, 1),
        "kept_bW": torch.tensor([[head is not None for head in heads]]),
    }


def test_heads_are_numbers_or_text() -> None:
    assert fitted().reference(ROWS[1]) == [[0, "root"], [1, "punct"]]
    assert fitted().reference({"head": [0, None], "deprel": ["root", "x"]}) is None
    with pytest.raises(DataError, match=r"'head': expected heads from 0 \(root\) to 1, found 2"):
        fitted().reference({"head": [2], "deprel": ["root"]})
    with pytest.raises(DataError, match=r"'deprel': expected 1 relations.*Did you mean 'deprels'"):
        fitted().reference({"head": [0], "deprels": ["root"]})


def test_words_cut_off_depend_on_the_root_word() -> None:
    task = fitted()
    (completed,) = task.decode(scores_of([2, 0, None, 2, None]), [(["w"] * 5,)]).labels
    assert [head for head, _ in completed] == [2, 0, 2, 2, 2]
    nothing = task.pad_prediction([], [[0, "root"]] * 3)
    assert [head for head, _ in nothing] == [0, 1, 1]
    with pytest.raises(DataError, match="1 heads in column 'head', but 2 words"):
        task.pad_prediction([[0, "root"]] * 2, [[0, "root"]])


def test_words_cut_off_and_words_below_them_are_no_loss() -> None:
    task = fitted()
    values = task.collate(
        [task.encode([[2, "det"], [0, "root"], [1, "punct"]], {"words": [0, 1, 2]})]
    )
    scores = scores_of([0, None, 0])
    right = total(task.loss({**scores_of([0, None, 1]), "kept_bW": scores["kept_bW"]}, values))
    assert right < total(task.loss(scores, values))
    again = {name: value.clone() for name, value in scores.items()}
    again["arcs_bWH"][0, :2] += torch.randn(2, 4)
    assert torch.equal(total(task.loss(again, values)), total(task.loss(scores, values)))


def test_a_word_never_heads_itself_nor_is_headed_by_what_was_cut_off() -> None:
    head = fitted().head(6).eval()
    words_BW = torch.tensor([[0, 1, 2, -1]])
    scores = head(
        Features(torch.randn(1, 3, 6), torch.ones(1, 3, dtype=torch.bool), TextLayout(words_BW))
    )
    lowest_WH = scores["arcs_bWH"][0] == torch.finfo(torch.float32).min
    assert lowest_WH[:, 4].all()
    assert lowest_WH[:, 1:].diagonal().all()
    assert lowest_WH[:3, :4].sum() == 3


def test_words_are_demanded_of_the_encoder() -> None:
    with pytest.raises(RecipeError, match=r"tasks\.tree: labels words"):
        fitted().encode([[0, "root"]], {"ids": [1]})
    with pytest.raises(DataError, match="1 heads in column 'head', but 2 words"):
        fitted().encode([[0, "root"]], {"words": [0, 1]})


def test_attachment_scores() -> None:
    gold = [[2, "nsubj:pass"], [0, "root"], [2, "punct"], [2, "obl"]]
    found = [[2, "nsubj"], [0, "root"], [1, "punct"], [2, "obj"]]
    assert metrics.build("uas", ())([gold], [found]) == 0.75
    assert metrics.build("las", ())([gold], [found]) == 0.5
