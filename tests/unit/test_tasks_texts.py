"""Tasks about texts: windows, official scores, losses with known values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import label_ranking_average_precision_score, ndcg_score
from torch import Tensor

from polytask.core.accounting import LeftOut
from polytask.core.errors import DataError, RecipeError
from polytask.core.features import Features, TextLayout
from polytask.tasks import Metric, Task, metrics, tasks
from polytask.tasks.candidates import pairwise_losses, softmax_losses
from polytask.tasks.embedding import contrastive_loss
from polytask.tasks.extraction import sentence_means
from polytask.tasks.keyphrases import phrases_of
from polytask.tasks.metrics.answers import cmrc_units, longest_run, squad_words
from polytask.tasks.metrics.keyphrase_scores import stem
from polytask.tasks.metrics.retrieval import ranks_of_partners

CONTEXT = "Denver won; it beat Carolina 24 to 10."


def metric(kind: str, **options: Any) -> Metric:
    return metrics.build({"kind": kind, **options}, ())


def said(*texts: str) -> list[dict[str, Any]]:
    return [{"text": text, "start": 0} for text in texts]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("The Denver Broncos!", ["denver", "broncos"]),
        ("an  apple a day", ["apple", "day"]),
        ("U.S.A.", ["usa"]),
        ("24–10", ["24–10"]),  # only ASCII punctuation is taken out
        ("Theatre of Anna", ["theatre", "of", "anna"]),
        ("the", []),
    ],
)
def test_answers_are_normalised_as_by_squad(answer: str, words: list[str]) -> None:
    assert squad_words(answer) == words


@pytest.mark.parametrize(
    ("references", "predictions", "exact", "f1"),
    [
        (["the cat"], ["Cat."], 1, 1),
        (["black cat"], ["a cat"], 0, 2 / 3),
        (["cat cat dog"], ["cat cat cat"], 0, 2 / 3),
        (["dog", "black cat"], ["cat"], 0, 2 / 3),
        ([], [], 1, 1),
        ([], ["cat"], 0, 0),
        (["cat"], [], 0, 0),
    ],
)
def test_scores_of_squad(
    references: list[str], predictions: list[str], exact: float, f1: float
) -> None:
    pair = [said(*references)], [said(*predictions)]
    assert metric("squad_em")(*pair) == exact
    assert metric("squad_f1")(*pair) == pytest.approx(f1)


@pytest.mark.parametrize(
    ("reference", "prediction", "exact", "f1"),
    [
        ("《战国无双3》", "战国无双3", 1, 1),
        ("光荣和ω-force", "光荣", 0, 2 * 2 / (4 + 2)),
        ("天主教底特律", "底特律天主教", 0, 0.5),  # the longest run, not all that is shared
        ("1913年", "1913 年", 1, 1),
        ("天主教", "基督", 0, 0),
    ],
)
def test_scores_of_cmrc(reference: str, prediction: str, exact: float, f1: float) -> None:
    pair = [said(reference)], [said(prediction)]
    assert metric("cmrc_em")(*pair) == exact
    assert metric("cmrc_f1")(*pair) == pytest.approx(f1)


def test_chinese_is_split_into_characters_and_the_rest_at_spaces() -> None:
    assert cmrc_units("ω-Force 公司，1.5 米") == ["ωforce", "公", "司", "1.5", "米"]
    assert longest_run("abcxd", "zabcd") == 3


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("queries", "query"),
        ("aies", "aies"),
        ("trees", "trees"),
        ("houses", "house"),
        ("nets", "net"),
        ("bus", "bus"),
        ("class", "class"),
        ("s", ""),
    ],
)
def test_plurals_lose_their_ending_as_harman_has_it(word: str, expected: str) -> None:
    assert stem(word) == expected


def test_f1_of_the_first_phrases() -> None:
    references = [said("neural networks", "query", "graphs")]
    predictions = [said("Neural Network", "neural networks", "tree", "graph")]
    assert metric("keyphrase_f1")(references, predictions) == pytest.approx(2 * 2 / (3 + 3))
    assert metric("keyphrase_f1", k=1)(references, predictions) == pytest.approx(2 / (1 + 3))
    assert math.isnan(metric("keyphrase_f1")([[]], [said("x")]))


def test_orders_are_scored_as_by_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    relevance = generator.integers(0, 4, (20, 7)).astype(float)
    relevance[:, 0] += relevance.sum(1) == 0
    scores = generator.permuted(np.tile(np.arange(7.0), (20, 1)), axis=1)
    pair = relevance.tolist(), scores.tolist()
    assert metric("ndcg")(*pair) == pytest.approx(ndcg_score(relevance, scores))
    assert metric("ndcg", k=3)(*pair) == pytest.approx(ndcg_score(relevance, scores, k=3))
    expected = label_ranking_average_precision_score(relevance > 0, scores)
    assert metric("map")(*pair) == pytest.approx(expected)


def test_orders_by_hand() -> None:
    pair = [[0.0, 1, 0, 1], [0, 0], [1, 0]], [[4.0, 3, 2, 1], [1, 2], [0.5, 0.5]]
    assert metric("mrr")(*pair) == pytest.approx((1 / 2 + 1 / 2) / 2)  # equal scores gain nothing
    assert metric("map")(*pair) == pytest.approx(((1 / 2 + 2 / 4) / 2 + 1 / 2) / 2)
    assert metric("gain", k=2)(*pair) == pytest.approx((1 / 2 + 1) / 2)
    assert metric("gain")([[0.2, 0.8]], [[2.0, 1.0]]) == pytest.approx(0.25)


def test_partners_are_looked_for_among_those_of_all_rows() -> None:
    near, far = [1.0, 0.0], [0.0, 1.0]
    rows = [[near, near], [near, far], [far, far], [far, [-1.0, 0.0]]]
    anchors, partners = (np.array([row[at] for row in rows]) for at in (0, 1))
    assert ranks_of_partners(anchors, partners).tolist() == [1, 2, 1, 2]
    assert metric("retrieval_mrr")([1, 1, 1, 0], rows) == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert metric("retrieval_recall")([1, 1, 1, 1], rows) == pytest.approx(1 / 2)
    assert metric("retrieval_recall", k=2)([1, 1, 1, 1], rows) == 1


def test_cosines_are_correlated_with_the_numbers() -> None:
    rows = [[[1.0, 0.0], [math.cos(angle), math.sin(angle)]] for angle in (2.0, 1.0, 0.1)]
    assert metric("cosine_spearman")([0, 1, 5], rows) == pytest.approx(1)
    expected = np.corrcoef([0, 1, 5], np.cos([2.0, 1.0, 0.1]))[0, 1]
    assert metric("cosine_pearson")([0, 1, 5], rows) == pytest.approx(expected)


def span_task(*, none: bool = False, **options: Any) -> Task:
    task = tasks.build({"kind": "span", "target": "label", **options}, "t")
    task.fit([said("x"), []] if none else [said("x")])
    return task


def window(first: int, last: int) -> dict[str, list[int]]:
    """A question of one token and the characters of a stretch as tokens."""
    return {"starts": [-1, *range(first, last)], "ends": [-1, *range(first + 1, last + 1)]}


def scores_of(windows: list[dict[str, list[int]]], best: dict[tuple[int, int, int], float]) -> Any:
    length = max(len(one["starts"]) for one in windows)
    edges = torch.zeros(1, len(windows), length, 2)
    places = torch.full((1, len(windows), length, 2), -1)
    for at, one in enumerate(windows):
        pairs = list(zip(one["starts"], one["ends"], strict=True))
        places[0, at, : len(pairs)] = torch.tensor(pairs)
    for (at, token, edge), score in best.items():
        edges[0, at, token, edge] = score
    return {"edges_bPL2": edges, "places_bPL2": places}


def decode(task: Task, scores: dict[str, torch.Tensor]) -> list[dict[str, Any]]:
    """The answers in one row, the context of which is ``CONTEXT``."""
    (answers,) = task.decode(scores, [("q", CONTEXT)]).labels
    return list(answers)


def test_windows_without_the_whole_answer_are_trained_to_have_none() -> None:
    windows = [window(0, 10), window(5, 20), window(12, 30)]
    answer = [{"text": CONTEXT[8:14], "start": 8}]
    target = span_task().encode(answer, {"texts": windows})
    assert target == [[0, 0], [4, 9], [0, 0]]
    found = span_task().encode([{"text": "a" * 30, "start": 8}], {"texts": windows})
    assert isinstance(found, LeftOut)
    assert span_task(none=True).encode([], {"texts": windows}) == [[0, 0]] * 3


def test_the_best_answer_of_all_windows_is_given() -> None:
    windows = [window(0, 10), window(5, 20)]
    scores = scores_of(windows, {(0, 1, 0): 2, (0, 3, 1): 2, (1, 16 - 5 + 1, 0): 3, (1, 13, 1): 3})
    assert decode(span_task(), scores) == [{"text": CONTEXT[16:18].strip(), "start": 16}]


def test_no_answer_is_given_where_that_scores_better_in_some_window() -> None:
    windows = [window(0, 10), window(5, 20)]
    best = {(0, 1, 0): 2.0, (0, 3, 1): 2.0, (0, 0, 0): 3.0, (0, 0, 1): 2.0, (1, 0, 0): 9.0}
    scores = scores_of(windows, best)
    first = [{"text": CONTEXT[0:3].strip(), "start": 0}]
    assert decode(span_task(none=True), scores) == []  # 4 against min(5, 9)
    assert decode(span_task(none=True, threshold=-2.0), scores) == first
    assert decode(span_task(), scores) == first


def test_answers_end_after_they_start_and_are_no_longer_than_allowed() -> None:
    best = {(0, 6, 0): 5.0, (0, 2, 1): 5.0, (0, 9, 1): 4.0, (0, 7, 1): 1.0}
    scores = scores_of([window(0, 10)], best)
    assert [one["text"] for one in decode(span_task(), scores)] == [CONTEXT[5:9].strip()]
    assert [one["text"] for one in decode(span_task(max_tokens=2), scores)] == [
        CONTEXT[5:7].strip()
    ]


def test_forms_of_answers_that_data_sets_have() -> None:
    lists = {"label": [{"text": "a", "start": 3}, {"text": "b", "start": 5}]}
    squad = {"label": {"text": ["a", "b"], "answer_start": [3, 5]}}
    assert span_task().reference(lists) == span_task().reference(squad) == lists["label"]
    columns = span_task(start="at")
    assert columns.reference({"label": "a", "at": 3}) == [{"text": "a", "start": 3}]
    assert columns.reference({"label": "", "at": -1}) == []
    assert columns.reference({"label": None, "at": None}) is None
    with pytest.raises(DataError, match="expected a list of answers"):
        span_task().reference({"label": "a"})


def test_what_lacks_places_of_tokens_is_refused() -> None:
    with pytest.raises(RecipeError, match="gives no offsets of tokens"):
        span_task().encode(said("x"), {"ids": [1]})


def test_phrases_are_found_as_whole_words_whatever_their_spaces() -> None:
    task = tasks.build("keyphrases", "t")
    task.set_columns(["text"])
    row = {
        "text": "Neural\n  networks, not neural net. NEURAL networks",
        "label": ["neural networks", "net", "x"],
    }
    found = task.reference(row)
    assert found is not None
    assert [phrase["places"] for phrase in found] == [[[0, 17], [35, 50]], [[30, 33]], []]


def test_phrases_are_extended_to_whole_words_and_the_surest_comes_first() -> None:
    text = "a tokeniser of state-space models"
    raw = [
        {"start": 4, "end": 7, "score": 0.5},
        {"start": 14, "end": 30, "score": 0.9},
        {"start": 2, "end": 5, "score": 0.4},
    ]
    assert [one["text"] for one, _ in phrases_of(raw, text)] == ["state-space models", "tokeniser"]


@pytest.mark.parametrize(
    ("part", "whole"),
    [("-space", "state-space"), ("state-", "state-space"), ("(RN", "(RNN"), ("net (", "net (")],
)
def test_a_hyphen_at_the_border_of_a_phrase_joins_on_its_word(part: str, whole: str) -> None:
    text = "state-space net (RNN)"
    start = text.index(part)
    raw = [{"start": start, "end": start + len(part), "score": 0.5}]
    assert [one["text"] for one, _ in phrases_of(raw, text)] == [whole]


def test_signs_alone_are_no_phrase() -> None:
    raw = [{"start": 3, "end": 5, "score": 0.5}]
    assert phrases_of(raw, "a b -- c") == []


def test_finding_partners_by_hand() -> None:
    vectors = torch.eye(4)[torch.tensor([[0, 0, 1], [1, 2, 3]])]
    there = torch.tensor([[True, True, True], [True, True, False]])
    # Anchor 0 has cosines 1, 0, 0 with partner, other text, partner 1; anchor 1 has 0, 1, 0.
    first = math.log(math.e**2 + 2) - 2
    second = math.log(math.e**2 + 2)
    loss = contrastive_loss(vectors, there, temperature=0.5)
    assert loss.item() == pytest.approx((first + second) / 2)


def test_a_pair_alone_in_a_batch_has_nothing_to_tell_apart() -> None:
    vectors = torch.eye(2).unsqueeze(0)
    assert contrastive_loss(vectors, torch.ones(1, 2, dtype=torch.bool), 0.1).item() == 0


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        (softmax_losses, [math.log(1 + math.e + math.e**2) - 1, math.log(2)]),
        (pairwise_losses, [(math.log(1 + math.e) + math.log(1 + math.e**-1)) / 2, math.log(2)]),
    ],
)
def test_losses_of_orders_by_hand(losses: Any, expected: list[float]) -> None:
    relevance = torch.tensor([[0.0, 1, 0], [0, 2, -1]])
    lowest = torch.finfo(torch.float32).min / 4
    scores = torch.tensor([[2.0, 1, 0], [0.5, 0.5, lowest]])
    assert losses(scores, relevance).tolist() == pytest.approx(expected)


def test_a_sentence_is_the_mean_of_its_tokens() -> None:
    tokens = torch.arange(12.0).view(2, 6, 1)
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    first = torch.tensor([[1, 3, 4], [0, 2, -1]])
    means = sentence_means(Features(tokens, mask, TextLayout(first)), first).squeeze(-1)
    assert means[0].tolist() == [1.5, 3.0, 4.5]
    assert means[1, :2].tolist() == [6.5, 8.5]


@pytest.mark.parametrize(
    ("options", "row", "message"),
    [
        ({"kind": "multiple_choice"}, {"label": "B"}, "expected the number of a choice"),
        ({"kind": "multiple_choice", "names": ["A"]}, {"label": "B"}, "no label 'B'"),
        ({"kind": "multiple_choice"}, {"label": [1, 1, 0]}, "expected one 1 among 0s"),
        ({"kind": "multiple_choice"}, {"label": [0.5, 1]}, "expected one 1 among 0s"),
        ({"kind": "multiple_choice", "names": ["A"]}, {"label": [1, 0]}, "more than 1 choices"),
        ({"kind": "ranking"}, {"label": [-1, 2]}, "a number of 0 or more"),
        ({"kind": "ranking"}, {"label": "1,2"}, "a number of 0 or more"),
        ({"kind": "extraction"}, {"label": [0, 2]}, "expected numbers from 0 to 1"),
        ({"kind": "embedding", "target": "label"}, {"label": "near"}, "expected a finite number"),
        ({"kind": "keyphrases"}, {"label": "a; b", "text": "a"}, "expected a list of phrases"),
        ({"kind": "keyphrases"}, {"label": ["a"], "text": ["a"]}, "'text': expected a text"),
    ],
)
def test_labels_of_the_wrong_kind_are_refused(
    options: dict[str, Any], row: dict[str, Any], message: str
) -> None:
    task = tasks.build(options, "t")
    task.set_columns(["text"])
    with pytest.raises(DataError, match=message):
        task.reference(row)


@pytest.mark.parametrize(
    ("options", "reference", "message"),
    [
        ({"kind": "multiple_choice"}, "2", "the row has 2 choices"),
        ({"kind": "ranking"}, [1.0, 0, 0], "3 numbers in column 'label', but 2 candidates"),
        ({"kind": "embedding", "loss": "triplet"}, 1.0, "needs 3 input columns or more, found 2"),
    ],
)
def test_labels_that_do_not_fit_the_texts_are_refused(
    options: dict[str, Any], reference: Any, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        tasks.build(options, "t").encode(reference, {"texts": [{}, {}]})


CHOICES = {"q": "?", "items": ["Rome", "Oslo", "Bonn"]}


@pytest.mark.parametrize(
    ("options", "label", "message"),
    [
        ({"kind": "multiple_choice"}, 3, r"3 choices, counted from 0.*set names: \[1, 2, 3\]"),
        ({"kind": "multiple_choice"}, 4, "found '4', but the row has 3 choices."),
        ({"kind": "multiple_choice"}, "Oslo", "the text of choice 1; write this number"),
        ({"kind": "multiple_choice"}, "B", r"names: \[A, B, C\]"),
        ({"kind": "multiple_choice"}, [0, 1], "for 3 choices. Expected one number for each"),
        ({"kind": "multiple_choice", "names": ["A", "B"]}, "A", "3 choices, but names lists 2"),
        ({"kind": "multiple_choice", "names": [*"ABCD"]}, "D", "'D', but the row has 3 choices"),
        ({"kind": "ranking"}, [0, 1], "found 2 numbers for 3 items"),
        ({"kind": "extraction"}, [0, 1, 0, 1], "found 4 numbers for 3 items"),
    ],
)
def test_labels_are_compared_with_the_items_of_their_row(
    options: dict[str, Any], label: Any, message: str
) -> None:
    task = tasks.build(options, "t")
    task.set_columns(["q", "items"])
    with pytest.raises(DataError, match=message):
        task.reference({**CHOICES, "label": label})


def test_choices_without_a_name_are_refused_in_prediction() -> None:
    task = tasks.build({"kind": "multiple_choice", "names": ["A", "B"]}, "t")
    scores = {
        "scores_bP": torch.tensor([[0.0, 1.0, 9.0]]),
        "there_bP": torch.ones(1, 3, dtype=torch.bool),
    }
    with pytest.raises(DataError, match="names lists 2"):
        task.decode(scores, [("", [])])


def test_pairs_below_the_number_of_partners_are_left_out() -> None:
    task = tasks.build({"kind": "embedding", "target": "label", "positive": 4}, "t")
    task.fit([0.0, 5.0])
    pair: dict[str, Any] = {"texts": [{"ids": [1]}, {"ids": [2]}]}
    assert isinstance(task.encode(3.9, pair), LeftOut)
    partners = task.encode(4.0, pair)
    assert not isinstance(partners, LeftOut)
    assert len(set(partners)) == 2


@pytest.mark.parametrize(("names", "label"), [(None, "1"), (["A", "B", "C"], "B")])
def test_a_choice_may_be_marked_in_a_list(names: list[Any] | None, label: str) -> None:
    task = tasks.build({"kind": "multiple_choice", "names": names}, "t")
    assert task.reference({"label": [0, 1, 0]}) == label


def test_scores_of_padding_do_not_count() -> None:
    task = tasks.build("multiple_choice", "t")
    scores: dict[str, Tensor] = {
        "scores_bP": torch.tensor([[0.0, 1.0, 9.0]]),
        "there_bP": torch.tensor([[True, True, False]]),
    }
    assert task.decode(scores, [("", [])]).labels == ["1"]
