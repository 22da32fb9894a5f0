"""Schemes of tags: what is taken for one, IOB1, references and predictions in one scheme."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from seqeval import metrics as seqeval
from torch.nn import functional

from polytask.core.errors import DataError, RecipeError
from polytask.tasks import Task, metrics, tasks
from polytask.tasks.spans import Scheme, detect_scheme, read_spans, windows_of, write_spans

Rows = list[list[str]]
iob2_rows = st.lists(
    st.lists(st.sampled_from(["O", "B-x", "I-x", "B-y", "I-y"]), min_size=1, max_size=9),
    min_size=1,
    max_size=6,
).map(lambda rows: [as_iob2(row) for row in rows])


def as_iob2(tags: Sequence[str]) -> list[str]:
    """Begin every stretch of one label with B, whatever its tags say."""
    before = ["O", *tags[:-1]]
    starts = [tag[0] == "B" or last[1:] != tag[1:] for last, tag in zip(before, tags, strict=True)]
    return [
        tag if tag == "O" else ("B" if starts[at] else "I") + tag[1:] for at, tag in enumerate(tags)
    ]


def as_iob1(tags: Sequence[str]) -> list[str]:
    """Turn B into I, unless the word before is in a span of the same label."""
    before = ["O", *tags[:-1]]
    return [
        f"I{tag[1:]}" if tag[0] == "B" and last[1:] != tag[1:] else tag
        for last, tag in zip(before, tags, strict=True)
    ]


def scheme_of(rows: Rows) -> Scheme:
    return detect_scheme(Counter(window for row in rows for window in windows_of(row)))


def fitted(rows: Rows, **options: Any) -> Task:
    task = tasks.build({"kind": "tagging", "target": "tags", **options}, "t")
    task.fit([task.training_label({"tags": row}) for row in rows])
    return task


def decoded(task: Task, tags: Sequence[str]) -> list[str]:
    """What is predicted where scores want these tags."""
    numbers = torch.tensor([[task.labels.index(tag) for tag in tags]])
    size = len(task.labels)
    scores = {
        "tags_bWC": 30.0 * functional.one_hot(numbers, size),
        "kept_bW": torch.ones_like(numbers, dtype=torch.bool),
        "moves_bSS": torch.zeros(1, size + 1, size + 1),
    }
    (found,) = task.decode(scores, [([*tags],)]).labels
    return list(found)


@settings(max_examples=60, deadline=None)
@given(rows=iob2_rows, crf=st.booleans())
def test_right_iob1_predictions_are_written_like_their_references(rows: Rows, crf: bool) -> None:
    iob1 = [as_iob1(row) for row in rows]
    if not any(tag != "O" for row in rows for tag in row):
        return
    task = fitted(iob1, scheme="iob1", crf=crf)
    predictions = [decoded(task, row) for row in iob1]
    assert predictions == iob1
    assert metrics.build("accuracy", task.labels)(iob1, predictions) == 1
    assert metrics.build("span_f1", task.labels)(rows, predictions) == 1


@settings(max_examples=60, deadline=None)
@given(rows=iob2_rows, predicted=iob2_rows)
def test_span_scores_are_the_same_in_iob1_and_iob2(rows: Rows, predicted: Rows) -> None:
    pairs = [
        (row[: min(len(row), len(other))], other[: min(len(row), len(other))])
        for row, other in zip(rows, predicted, strict=False)
    ]
    iob2 = [[as_iob2(row) for row in side] for side in zip(*pairs, strict=True)]
    iob1 = [[as_iob1(row) for row in side] for side in iob2]
    if not any(tag != "O" for side in iob2 for row in side for tag in row):
        return
    expected = seqeval.f1_score(*iob2, average="micro", zero_division=0)
    for references in (iob2[0], iob1[0]):
        for predictions in (iob2[1], iob1[1]):
            score = metrics.build("span_f1", ())(references, predictions)
            assert score == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(rows=iob2_rows)
def test_any_iob1_row_is_written_again_as_it_was(rows: Rows) -> None:
    for row in map(as_iob1, rows):
        assert write_spans(read_spans(row), len(row), "IIII") == row


@pytest.mark.parametrize(
    ("rows", "scheme"),
    [
        (["I-PER B-PER O O I-LOC B-LOC", "I-PER O I-PER I-PER"], "iob1"),
        (["I-x I-x O I-y", "O I-x"], "iob1"),  # no two spans of a label meet
        (["B-x B-x O O B-y B-y", "B-x O B-x I-x"], "bio"),
        (["B-x I-x O", "B-y O B-x I-x", "I-x O"], "bio"),  # one row breaks it
        (["B-x O B-y", "B-x I-x I-x", "I-x O B-x", "B-x O"] * 3, "bio"),
        (["B-x O O", "B-x B-y", "O B-x"] * 4 + ["I-x O"], "bio"),  # few I, all of them broken
        (["S E E S", "E S", "S S E E E"], "none"),
        (["L M S S", "M L", "S S L M M"], "none"),
        (["S E O E S", "E S O", "S S E O E E"], "none"),
        (["S O O S", "O S O"], "none"),  # subjects and objects
        (["B S S B", "S B S"], "none"),  # buy and sell
        (["B M E S", "S S B E", "B M M E"], "bmes"),
        (["B-x M-x E-x S-y", "O S-x O B-y E-y"], "bmes"),
        (["O S-x O", "S-y O"], "bmes"),
        (["B I I B", "B B I"], "bio"),
        (["E-x S-y S-y E-x", "E-y E-x"], "none"),
        (["I-x E-x O E-x", "E-y O I-x I-x E-x"], "none"),  # IOE2 is not known
        (["O O"], "none"),
    ],
)
def test_a_scheme_needs_tags_that_keep_to_it(rows: list[str], scheme: str) -> None:
    assert scheme_of([row.split() for row in rows]) == scheme


def test_random_labels_are_no_scheme() -> None:
    draw = random.Random(0)
    for letters in ("ES", "LMS", "ESO", "MEW", "UL", "BSE", "BEO"):
        rows = [draw.choices(letters, k=draw.randint(2, 12)) for _ in range(50)]
        assert scheme_of(rows) == "none", letters
        task = fitted(rows)
        assert all(decoded(task, row) == row for row in rows)
        assert task.default_metrics == ("accuracy",)


def test_the_scheme_is_noted_unless_the_recipe_names_it() -> None:
    rows = [["I-x", "B-x", "O"]]
    (note,) = fitted(rows).notes()
    assert "scheme: iob1" in note
    assert "scheme: none" in note
    assert not fitted(rows, scheme="bio").notes()
    assert not fitted([["NOUN", "VERB"]]).notes()
    assert not fitted([["E", "S", "E"]]).notes()
    (note,) = fitted([["E-x", "S-y", "E-x"]]).notes()
    assert "plain labels" in note


@settings(max_examples=60, deadline=None)
@given(rows=iob2_rows, crf=st.booleans())
@pytest.mark.parametrize("scheme", ["bio", "iob1", "bmes"])
def test_labels_of_mixed_rows_are_written_like_predictions(
    scheme: str, rows: Rows, crf: bool
) -> None:
    mixed = [as_iob1(row) if at % 2 else row for at, row in enumerate(rows)]
    if not any(tag != "O" for row in rows for tag in row):
        return
    task = fitted(mixed, scheme=scheme, crf=crf)
    references = [task.reference({"tags": row}) or [] for row in mixed]
    predictions = [decoded(task, row) for row in references]
    assert metrics.build("accuracy", task.labels)(references, predictions) == 1
    assert metrics.build("exact_match", task.labels)(references, predictions) == 1
    assert metrics.build("span_f1", task.labels)(rows, references) == 1
    for row, reference in zip(mixed, references, strict=True):
        rewritten = task.correction({"tags": row})
        assert rewritten == (None if row == reference else f"tags rewritten in scheme {scheme}")
        if scheme != "bmes":
            assert reference == (as_iob2(row) if scheme == "bio" else as_iob1(as_iob2(row)))


def test_a_held_out_tag_that_marks_no_span_is_named() -> None:
    task = fitted([["B-x", "I-x", "O"]])
    with pytest.raises(DataError, match="task t: column 'tags': tag 'NOUN' marks no span"):
        task.reference({"tags": ["NOUN"]})


def test_the_scheme_survives_its_state() -> None:
    rows = [["I-x", "B-x", "O"]]
    task = tasks.build({"kind": "tagging", "target": "tags"}, "t")
    task.restore(fitted(rows).state())
    assert decoded(task, rows[0]) == rows[0]


@pytest.mark.parametrize("tags", [["B-x", "", "O"], ["B-x", " ", "O"], ["B-x", None, "O"]])
def test_an_empty_tag_is_refused(tags: list[Any]) -> None:
    task = tasks.build("tagging", "t")
    with pytest.raises(DataError, match=r"task t: column 'tags': expected a .*(empty|None)"):
        task.reference({"tags": tags})


@pytest.mark.parametrize("text", ["['B-x', 'O']", '["B-x", "O"]', "[0, 1]", "['B-x' 'O']"])
def test_text_that_spells_a_list_of_tags_is_refused(text: str) -> None:
    """As pandas writes lists to CSV; its pieces are no tags."""
    with pytest.raises(DataError, match=r"spells a list.*JSON Lines"):
        tasks.build("tagging", "t").reference({"tags": text})
    assert tasks.build("tagging", "t").reference({"tags": "[ NN ]"}) == ["[", "NN", "]"]


def test_a_metric_of_one_label_knows_the_labels_of_spans() -> None:
    built = metrics.build({"kind": "span_f1", "label": 1}, ("O", "B-1", "I-1"))
    assert built.name == "span_f1_1"
    assert built([["B-1", "O"]], [["B-1", "O"]]) == 1
    with pytest.raises(RecipeError, match=r"no label 'PERS'\. Did you mean 'PER'"):
        metrics.build({"kind": "span_f1", "label": "PERS"}, ("O", "B-PER", "I-PER"))
    with pytest.raises(RecipeError, match="no label 'B-PER'"):
        metrics.build({"kind": "span_f1", "label": "B-PER"}, ("O", "B-PER", "I-PER"))


@pytest.mark.parametrize(
    ("tags", "other"),
    [
        (["b-per", "i-per", "o"], "b-per"),
        (["B_PER", "I_PER", "O"], "B_PER"),
        (["PER-B", "PER-I", "O"], "PER-B"),
        (["B-PER", "I-PER", "O", "X"], "X"),
    ],
)
def test_spans_in_a_spelling_that_is_not_read_are_noted(tags: list[str], other: str) -> None:
    task = fitted([tags] * 3)
    assert [metric.name for metric in task.build_metrics()] == ["accuracy"]
    [note] = task.notes()
    assert "are read as plain labels" in note
    assert f"since {other!r} is no tag of a scheme" in note


@pytest.mark.parametrize("tags", [["NN", "VB-Z", "O"], ["S", "E"], ["B-x", "I-x", "O", "a", "b"]])
def test_other_tags_are_not_noted(tags: list[str]) -> None:
    assert not fitted([tags] * 3).notes()
