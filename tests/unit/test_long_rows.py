"""A long row takes memory and time in proportion to what a task needs; its results are the same."""

from __future__ import annotations

import time
import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor

from polytask.core.byte_pairs import train_byte_pairs
from polytask.core.features import Features, TextLayout
from polytask.encoders import encoders
from polytask.evaluation.predict import _SQUARED, _batches
from polytask.tasks import Task, tasks
from polytask.tasks.biaffine import BiaffineHead, relation_scores
from polytask.tasks.edits import apply, script
from polytask.tasks.losses import total
from polytask.tasks.pairs import PairsHead
from polytask.tasks.question_answering import SpanAnswer, possible_edges
from polytask.tasks.spanning_tree import Floats, best_tree

LABELS: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "tagging": ({"kind": "tagging"}, ["B-a", "O", "I-a", "B-b", "O", "O"]),
    "crf": ({"kind": "tagging", "crf": True}, ["B-a", "O", "I-a", "B-b", "O", "O"]),
    "feats": ({"kind": "feats"}, ["A=b", "_", "A=b|C=d", "_", "A=b", "_"]),
    "parsing": ({"kind": "parsing"}, [[2, "x"], [0, "y"], [6, "x"], [2, "z"], [1, "x"], [2, "y"]]),
    "extraction": ({"kind": "extraction"}, [0.0, 1.0, 0.5, 0.0, 1.0, 0.0]),
}


def fitted(case: str) -> tuple[Task, list[Any]]:
    options, label = LABELS[case]
    task = tasks.build({**options, "target": "y"}, "t")
    task.fit([label])
    return task, label


def features_of(words_BW: Tensor, length: int) -> Features:
    tokens_BLD = torch.randn(len(words_BW), length, 8, generator=torch.Generator().manual_seed(0))
    return Features(
        tokens_BLD, torch.ones(len(words_BW), length, dtype=torch.bool), TextLayout(words_BW)
    )


@pytest.mark.parametrize("case", sorted(LABELS))
def test_words_that_were_cut_off_may_be_left_out(case: str) -> None:
    """Labels of six words, of which the encoder read three: with and without places of the others."""
    task, label = fitted(case)
    values = task.collate([task.encode(label, {"words": [0, 1, 2, -1, -1, -1]})])
    torch.manual_seed(0)
    head = task.head(8).eval()
    wide = head(features_of(torch.tensor([[0, 1, 2, -1, -1, -1]]), 3))
    narrow = head(features_of(torch.tensor([[0, 1, 2]]), 3))
    torch.testing.assert_close(total(task.loss(narrow, values)), total(task.loss(wide, values)))
    rows = [(["w"] * 6,)]
    assert task.decode(narrow, rows).labels == task.decode(wide, rows).labels


def test_relations_are_scored_to_one_head_as_they_are_to_all() -> None:
    torch.manual_seed(0)
    head = BiaffineHead("t", 8, 5, 0.0, 6, 4).eval()
    words_BW = torch.arange(7).expand(2, 7)
    scores = head(features_of(words_BW, 7))
    all_bWHR = torch.einsum("bwrk,bhk->bwhr", scores["sides_bWRK"], scores["heads_bHK"])
    heads_bW = torch.randint(0, 8, (2, 7))
    expected_bWR = all_bWHR[torch.arange(2)[:, None], torch.arange(7), heads_bW]
    torch.testing.assert_close(relation_scores(scores, heads_bW), expected_bWR)


def test_a_parser_keeps_no_relations_of_all_pairs() -> None:
    words, relations = 400, 40
    head = BiaffineHead("t", 8, relations, 0.0, 6, 9).eval()
    scores = head(features_of(torch.arange(words)[None], words))
    numbers = sum(value.numel() for value in scores.values())
    assert numbers < words * (words + 1) + 11 * words * relations


def nested_pairs(words: int) -> Floats:
    """Scores in which near words want each other: cycles inside cycles."""
    distances: Floats = np.abs(np.arange(words)[:, None] - np.arange(-1, words)[None])
    return -(distances**0.5)


@pytest.mark.parametrize("kind", ["random", "nested"])
def test_trees_of_long_sentences(kind: str) -> None:
    words = 1200
    random_WH = np.random.default_rng(0).standard_normal((words, words + 1))
    scores_WH = random_WH if kind == "random" else nested_pairs(words)
    tracemalloc.start()
    start = time.perf_counter()
    heads = best_tree(scores_WH)
    seconds = time.perf_counter() - start
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (heads == 0).sum() == 1
    assert peak < 4 * scores_WH.nbytes
    assert seconds < 5


def span_scores(texts: int, length: int, seed: int, ties: bool) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    edges_bPL2 = torch.randn(1, texts, length, 2, generator=generator)
    starts_L = torch.arange(length) - 1
    places_bPL2 = torch.stack([starts_L, starts_L + 1], -1).expand(1, texts, length, 2).clone()
    outside_bPL = torch.rand(1, texts, length, generator=generator) < 0.2
    outside_bPL[..., 0] = True
    places_bPL2[outside_bPL] = -1
    return {
        "edges_bPL2": (2 * edges_bPL2).round() if ties else edges_bPL2,
        "places_bPL2": places_bPL2,
    }


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.integers(2, 9), st.integers(1, 12), st.integers(0, 999), st.booleans())
def test_the_best_span_is_the_best_of_all(
    texts: int, length: int, longest: int, seed: int, ties: bool
) -> None:
    scores = span_scores(texts, length, seed, ties)
    edges, places = scores["edges_bPL2"][0].tolist(), scores["places_bPL2"][0].tolist()
    sums = [
        (
            edges[text][first][0] + edges[text][last][1],
            places[text][first][0],
            places[text][last][1],
        )
        for text in range(texts)
        for first in range(length)
        for last in range(first, min(length, first + longest))
        if places[text][first][0] >= 0 and places[text][last][0] >= 0
    ]
    task = tasks.build({"kind": "span", "target": "y", "max_tokens": longest}, "t")
    task.fit([[{"text": "a", "start": 0}]])
    assert isinstance(task, SpanAnswer)
    found = task.best_span(possible_edges(scores)[0], scores["places_bPL2"][0])
    if not sums:
        assert found == []
        return
    best, start, end = max(sums, key=lambda one: one[0])
    (only,) = found
    chosen = [total for total, *ends in sums if ends == [only["start"], only["end"]]]
    assert max(chosen) == pytest.approx(best)
    if not ties and texts == 1:
        assert (only["start"], only["end"]) == (start, end)


def test_the_best_span_of_a_long_text_needs_no_square_of_its_length() -> None:
    length = 60_000
    scores = span_scores(1, length, 0, ties=False)
    task = tasks.build({"kind": "span", "target": "y"}, "t")
    task.fit([[{"text": "a", "start": 0}]])
    assert len(task.decode(scores, [("q", "a" * length)]).labels) == 1


def marked(spans: int, words: int) -> Features:
    features = features_of(torch.arange(words)[None], words)
    starts_M = torch.randint(0, words - 2, (spans,), generator=torch.Generator().manual_seed(1))
    spans_BM2 = torch.stack([starts_M, starts_M + 2], -1)[None]
    return replace(features, layout=replace(features.text, spans_BM2=spans_BM2))


def test_pairs_of_many_spans_are_scored_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    head = PairsHead("t", 8, 3, 0.0, 6)
    features = marked(9, 20)
    expected = head(features)
    expected["pairs_bMMC"].square().sum().backward()
    gradients = {name: value.grad for name, value in head.named_parameters()}
    head.zero_grad()
    monkeypatch.setattr("polytask.tasks.pairs._AT_ONCE", 20)
    found = head(features)
    torch.testing.assert_close(found, expected)
    found["pairs_bMMC"].square().sum().backward()
    torch.testing.assert_close({n: value.grad for n, value in head.named_parameters()}, gradients)


@pytest.mark.parametrize("kind", ["bilstm", "cnn", "transformer", "neural_n_gram"])
def test_words_that_were_cut_off_take_no_room(kind: str) -> None:
    encoder = encoders.build({"kind": kind, "max_length": 16, "vocabulary": 400})
    rows = [(["a", "dog"] * 500,), (["a", "cat"],)]
    encoder.fit(rows)
    inputs = encoder.prepare(rows)
    assert len(inputs[0]["words"]) == 1000
    assert encoder.collate(inputs)["words"].shape[1] <= 16


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 20_000), min_size=1, max_size=60), st.integers(1, 2**17))
def test_batches_are_bounded_by_tokens_and_by_their_square(lengths: list[int], tokens: int) -> None:
    lengths_N = np.array(lengths)
    batches = list(_batches(lengths_N, tokens))
    assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
    for rows_b in batches:
        longest = lengths_N[rows_b].max()
        assert len(rows_b) * longest <= max(tokens, longest)
        assert len(rows_b) * longest**2 <= max(_SQUARED, longest**2)


TEXTS = [
    "the cat sat on the mat, and 12 dogs ran",
    "naïve cafés — 我喜欢这部电影",
    "a  b   c\n\n",
] * 9


def test_subwords_of_normal_texts_are_those_of_the_library() -> None:
    reference = Tokenizer(models.BPE())
    reference.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    reference.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=350, min_frequency=2, special_tokens=["[X]"], initial_alphabet=alphabet
    )
    reference.train_from_iterator([*TEXTS, "ab" * 250], trainer)
    found = train_byte_pairs([*TEXTS, "ab" * 250], 350, ["[X]"])
    assert found.to_str() == reference.to_str()


@pytest.mark.parametrize("kind", ["one letter", "spaces", "letters", "characters"])
def test_subwords_are_learned_from_words_of_any_length(kind: str) -> None:
    generator = np.random.default_rng(0)
    letters = {
        "one letter": "a",
        "spaces": " ",
        "letters": "abcdefghijklmnopqrst",
        "characters": "".join(map(chr, range(0x4E00, 0x4F00))),
    }[kind]
    text = "".join(generator.choice([*letters], 60_000))
    start = time.perf_counter()
    tokenizer = train_byte_pairs([*TEXTS, text], 1000, ["[X]"])
    assert time.perf_counter() - start < 10  # without a limit: up to a minute
    assert tokenizer.decode(tokenizer.encode(text).ids).strip() == text.strip()


def test_the_edit_of_a_very_long_word_is_the_lemma() -> None:
    word = "ab" * 30_000
    assert apply(script(word, word + "s"), word) == word + "s"
