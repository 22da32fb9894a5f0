"""Relations: how spans are named, known scores, and spans on their way to the head."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from polytask.core.accounting import LeftOut
from polytask.core.batch import Fields
from polytask.core.errors import DataError, RecipeError
from polytask.core.features import Features
from polytask.core.texts import Marked, collate_texts, prepare_texts, texts_of_row, unfold
from polytask.encoders import encoders
from polytask.tasks import Task, metrics, tasks
from polytask.tasks.heads import stretch_means
from polytask.tasks.pairs import PairsHead
from polytask.tasks.spans import parse_spans

WORDS = ["Ann", "Lee", "left", "Rome", "for", "Oslo"]
TAGS = ["B-p", "I-p", "O", "B-l", "O", "B-l"]
SPANS = [[0, 2], [3, 4], [5, 6]]


def relation(head: Any, tail: Any, kind: str) -> dict[str, Any]:
    return {"head": head, "tail": tail, "type": kind}


def task_of(**options: Any) -> Task:
    task = tasks.build({"kind": "relations", "target": "label", **options}, "t")
    task.set_columns(["tokens", "tags"])
    return task


@pytest.mark.parametrize("marks", [TAGS, SPANS, [(0, 2), (3, 4), (5, 6)]])
def test_spans_are_marked_by_tags_or_by_their_ends(marks: Any) -> None:
    assert parse_spans(marks) == SPANS


@pytest.mark.parametrize("marks", [None, 3, [1, 2], [[1]], [[0, 1], "B-x"]])
def test_other_marks_are_refused(marks: Any) -> None:
    with pytest.raises(DataError, match="expected spans as a tag for every word"):
        parse_spans(marks)


@pytest.mark.parametrize("head", [0, 1, [0, 2]])
def test_a_relation_names_a_span_by_its_ends_or_any_word_of_it(head: Any) -> None:
    row = {"tags": TAGS, "label": [relation(head, 3, "left")]}
    assert task_of().reference(row) == [relation([0, 2], [3, 4], "left")]


@pytest.mark.parametrize(
    ("options", "row", "message"),
    [
        ({}, {"tags": TAGS, "label": [relation(2, 3, "x")]}, "2 is neither a span nor a word"),
        ({}, {"tags": TAGS, "label": [relation([0, 1], 3, "x")]}, "neither a span"),
        ({}, {"tags": TAGS, "label": "x"}, "set pairs: first"),
        ({}, {"tags": None, "label": []}, "expected spans as a tag for every word"),
        ({"pairs": "first"}, {"tags": ["B-x"], "label": "x"}, "expected two spans"),
        ({}, {"tags": TAGS, "label": [relation(-1, 3, "x")]}, "A number names a word"),
        ({}, {"tags": TAGS, "label": [relation([0, 1], 3, "x")]}, "the word after its last"),
        ({}, {"tokens": WORDS, "tags": [[5, 7]], "label": []}, r"span \[5, 7\], but there are 6"),
        ({}, {"tokens": WORDS, "tags": [[3, 3]], "label": []}, "the word after its last"),
        ({}, {"tokens": WORDS, "tags": [[3, 2]], "label": []}, r"found span \[3, 2\]"),
        ({}, {"tokens": WORDS, "tags": [[-1, 2]], "label": []}, r"found span \[-1, 2\]"),
        ({}, {"tokens": WORDS[:4], "tags": TAGS, "label": []}, "but there are 4 words"),
    ],
)
def test_what_is_no_relation_is_refused(
    options: dict[str, Any], row: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        task_of(**options).reference(row)


def test_a_relation_of_a_span_to_itself_is_remarked() -> None:
    rows = [{"tags": TAGS, "label": [relation(0, tail, "x")]} for tail in (1, 3)]
    assert [task_of().correction(row) is None for row in rows] == [False, True]


def test_every_ordered_pair_has_a_target() -> None:
    task = task_of()
    task.fit([[relation([0, 1], [1, 2], "a")], [relation([0, 1], [1, 2], "b")]])
    inputs = {"words": [0, 1, 2, 3, 4, 5], "spans": SPANS}
    found = [relation([0, 2], [3, 4], "b"), relation([5, 6], [0, 2], "never seen")]
    assert task.encode(found, inputs) == [[-100, 2, 0], [0, -100, 0], [-100, 0, -100]]
    alone = task.encode([], {"words": [0], "spans": [[0, 1]]})
    assert alone == LeftOut("fewer than two spans")


def test_only_the_first_pair_is_asked_for_where_a_label_is_given() -> None:
    task = task_of(pairs="first", negative="no")
    row = {"tags": SPANS, "label": "no"}
    assert task.reference(row) == []
    task.fit([[relation([0, 1], [1, 2], "a")], []])
    inputs = {"words": [0, 1, 2, 3, 4, 5], "spans": SPANS}
    assert task.encode([], inputs) == [[-100, 0, -100], [-100] * 3, [-100] * 3]
    always = {"pairs_bMMC": torch.tensor([0.0, 1.0]).expand(1, 3, 3, 2)}
    kept = {"kept_bMM": torch.ones(1, 3, 3, dtype=torch.bool)}
    found = task.decode({**always, **kept}, [("words", SPANS)]).labels
    assert found == [[relation(SPANS[0], SPANS[1], "a")]]


def test_scores_leave_pairs_without_a_relation_out() -> None:
    references = [[relation([0, 1], [2, 3], "a")], [relation([0, 1], [2, 3], "b")], []]
    predictions = [
        [relation([0, 1], [2, 3], "a"), relation([2, 3], [0, 1], "a")],
        [relation([0, 1], [2, 3], "a")],
        [],
    ]

    def value(kind: str, **options: Any) -> float:
        return metrics.build({"kind": kind, **options}, ("a", "b"))(references, predictions)

    assert value("relation_precision") == pytest.approx(1 / 3)
    assert value("relation_recall") == pytest.approx(1 / 2)
    assert value("relation_f1") == pytest.approx(2 / 5)
    assert value("relation_f1", average="macro") == pytest.approx((1 / 2 + 0) / 2)
    assert value("relation_f1", label="b") == 0


def test_means_of_stretches() -> None:
    tokens = torch.tensor([[[1.0], [3.0], [5.0], [100.0]]])
    features = Features(tokens, torch.tensor([[True, True, True, False]]))
    starts, stops = torch.tensor([[0, 1, 2, 0]]), torch.tensor([[2, 3, 1, 4]])
    assert stretch_means(features, starts, stops).flatten().tolist() == [2, 4, 0, 9 / 4]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ((WORDS,), "expected two input columns"),
        (("Ann left", [[0, 1]]), "expected two input columns, a list of words"),
        ((WORDS, [[3, 7]]), r"found span \[3, 7\], but there are 6 words"),
        ((WORDS, [[2, 2]]), r"found span \[2, 2\]"),
    ],
)
def test_spans_that_mark_no_words_are_refused(fields: Fields, message: str) -> None:
    with pytest.raises(DataError, match=message):
        texts_of_row(fields, "marked")


def test_spans_reach_the_head_whatever_else_is_in_the_batch() -> None:
    """Rows with more spans, with none, and with several texts do not change the scores of a row."""
    torch.manual_seed(0)
    options = {"kind": "transformer", "layers": 1, "width": 8, "heads": 2, "feed_forward": 8}
    encoder = encoders.build({**options, "vocabulary": 300, "dropout": 0.0}, ())
    encoder.fit([(WORDS,)])
    head = PairsHead("t", 8, 3, 0.0, 5).eval()
    rows: list[list[Fields]] = [
        [(Marked(WORDS, SPANS[:2]),)],
        [("what", "a choice"), ("what", "another one")],
        [(Marked([*WORDS, *WORDS], SPANS),)],
        [(Marked(["Ann"], []),)],
    ]

    def scores(chosen: list[int]) -> dict[str, torch.Tensor]:
        texts = [rows[row] for row in chosen]
        inputs = collate_texts(prepare_texts(texts, encoder.prepare), encoder.collate)
        rows_b = torch.tensor([place for place, row in enumerate(chosen) if row != 1])
        single = unfold(inputs, {"t": rows_b})
        features = encoder.eval()(single.inputs).select(single.rows["t"])
        found: dict[str, torch.Tensor] = head(single.fold(features, rows_b, "t"))
        return found

    alone, together = scores([0]), scores([0, 1, 2, 3])
    torch.testing.assert_close(together["pairs_bMMC"][0, :2, :2], alone["pairs_bMMC"][0])
    assert together["kept_bMM"].sum((1, 2)).tolist() == [4, 9, 0]


def test_an_encoder_that_keeps_no_words_is_refused() -> None:
    features = Features(torch.zeros(1, 1, 4), torch.ones(1, 1, dtype=torch.bool))
    with pytest.raises(RecipeError, match="one vector per text"):
        PairsHead("t", 4, 3, 0.0, 5)(features)
    with pytest.raises(RecipeError, match="one vector per text"):
        task_of().encode([], {"ids": [1], "spans": SPANS})
