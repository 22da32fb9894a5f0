"""What label sets of all task types promise: alike in all formats, near-equal labels, files."""

from __future__ import annotations

import csv
import json
import random
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.metrics import f1_score
from sklearn.preprocessing import MultiLabelBinarizer

from polytask.core.errors import DataError, RecipeError
from polytask.data.rows import each_row
from polytask.data.sources import sources
from polytask.data.sources.conllu import fill_columns
from polytask.tasks import Task, metrics, tasks
from polytask.tasks.labels import label_text, nearly_equal

NONE = None
COLUMNS: list[tuple[dict[str, Any], list[Any], list[Any]]] = [
    # task, cells as JSON has them, references
    ({"kind": "classification"}, [1.0, 0.0, None, 1.0], ["1", "0", NONE, "1"]),
    ({"kind": "classification"}, [1, 0, None, 12], ["1", "0", NONE, "12"]),
    ({"kind": "classification"}, [0.5, 0.25, None, 1e-5], ["0.5", "0.25", NONE, "1e-05"]),
    ({"kind": "classification"}, ["007", "1e3", "", "v1.10"], ["007", "1e3", NONE, "v1.10"]),
    ({"kind": "classification"}, ["a", " ", None, "b "], ["a", NONE, NONE, "b "]),
    ({"kind": "regression"}, [1.5, -2.0, None, 3.0], [1.5, -2.0, NONE, 3.0]),
    ({"kind": "regression"}, ["1.5", " 2 ", "", "3e-2"], [1.5, 2.0, NONE, 0.03]),
    (
        {"kind": "multilabel", "delimiter": "|"},
        ["a|b", "", None, "b|"],
        [["a", "b"], [], [], ["b"]],
    ),
    ({"kind": "multilabel", "delimiter": "|"}, [1, 2, None, 3], [["1"], ["2"], [], ["3"]]),
    (
        {"kind": "multilabel", "delimiter": "; ", "empty": "missing"},
        ["b; a; b", "", None, " "],
        [["a", "b"], NONE, NONE, NONE],
    ),
    ({"kind": "tagging"}, ["B-x O", "", None, "O"], [["B-x", "O"], NONE, NONE, ["O"]]),
    ({"kind": "feats"}, ["A=1 _", "", None, "_"], [["A=1", "_"], NONE, NONE, ["_"]]),
    ({"kind": "lemma"}, ["be 1.0", "", None, "a"], [["be", "1.0"], NONE, NONE, ["a"]]),
    ({"kind": "multiple_choice"}, [1, 0, None, 2], ["1", "0", NONE, "2"]),
    ({"kind": "multiple_choice"}, ["01", "0", None, "2.0"], ["1", "0", NONE, "2"]),
    ({"kind": "multiple_choice"}, [1.0, 0.0, None, 2.0], ["1", "0", NONE, "2"]),
    (
        {"kind": "multiple_choice", "names": ["A", "B"]},
        ["A", "", None, "B"],
        ["A", NONE, NONE, "B"],
    ),
    ({"kind": "ranking"}, ["1 0 0.5", "", None, "0 2"], [[1, 0, 0.5], NONE, NONE, [0, 2]]),
    ({"kind": "extraction"}, ["1 0", " ", None, "0.5"], [[1, 0], NONE, NONE, [0.5]]),
    ({"kind": "embedding", "loss": "cosine"}, [0.5, 1.0, None, 0.0], [0.5, 1.0, NONE, 0.0]),
    ({"kind": "generation"}, ["ein Hund", "", None, "x"], ["ein Hund", NONE, NONE, "x"]),
    ({"kind": "instruction"}, ["yes", "", None, "no"], ["yes", NONE, NONE, "no"]),
    ({"kind": "language_model"}, ["a b", "", None, "c"], ["a b", NONE, NONE, "c"]),
]
NESTED: list[tuple[dict[str, Any], list[Any], list[Any]]] = [
    # only JSON and Parquet hold lists
    ({"kind": "multilabel"}, [["a"], [], None, ["b", "a"]], [["a"], [], NONE, ["a", "b"]]),
    (
        {"kind": "multilabel", "delimiter": "|"},
        [["a|b"], [], None, ["b", ""]],
        [["a|b"], [], [], ["b"]],
    ),
    ({"kind": "tagging"}, [["B-x", "O"], [], None, ["O"]], [["B-x", "O"], NONE, NONE, ["O"]]),
    ({"kind": "ranking"}, [["1", "0"], [], None, ["0.5"]], [[1, 0], NONE, NONE, [0.5]]),
    ({"kind": "generation"}, [["x"], [], None, ["y", "z"]], [["x"], NONE, NONE, ["y", "z"]]),
]


def write(rows: Sequence[Mapping[str, Any]], kind: str, path: Path) -> None:
    if kind in ("csv", "tsv"):
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="," if kind == "csv" else "\t")
            writer.writerows([[*rows[0]], *([*row.values()] for row in rows)])
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif kind == "json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    else:
        pq.write_table(pa.Table.from_pylist([*rows]), path)


def read(kind: str, path: Path) -> Iterable[Mapping[str, Any]]:
    return each_row(sources.build({"kind": kind, "path": str(path)}, ()).load()["all"])


def references(task: Task, cells: Sequence[Any], kind: str, folder: Path) -> list[Any]:
    rows = [{"text": f"t{at}", "label": cell} for at, cell in enumerate(cells)]
    path = folder / f"rows.{kind}"
    write(rows, kind, path)
    return [task.reference(row) for row in read(kind, path)]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json", "parquet"])
def test_references_are_the_same_in_all_formats(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLYTASK_CACHE", str(tmp_path / "cache"))
    flat = [] if kind in ("csv", "tsv") else NESTED
    for options, cells, expected in COLUMNS + flat:
        task = tasks.build({"target": "label", **options}, "t")
        assert references(task, cells, kind, tmp_path) == expected, (options, cells)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1.0", "1"),
        ("1.00", "1"),
        ("-3.0", "-3"),
        ("-0.0", "0"),
        (-0.0, "0"),
        ("-0", "0"),
        (10**20, "1" + "0" * 20),
        (1e20, "1" + "0" * 20),
        *((same, same) for same in ("007", "07.0", "1e3", "1_000", "١", "1.10", "1.", ".0", "+1")),
        *((same, same) for same in ("True", "1.0.0", "1.0 ", "v1.0", "1.01", "9" * 5000)),
    ],
)
def test_whole_numbers_alone_are_equal_as_text(value: Any, text: str) -> None:
    assert label_text(value) == text


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("3,5", r"found '3,5'.*Write 3\.5, with a decimal point"),
        ("1 000", "digits without separators"),
        ("1_000", "digits without separators"),
        ("1,000.5", "digits without separators"),
        (True, "kind: classification"),
        ("True", "expected a finite number, found 'True'"),
        ("inf", "expected a finite number"),
        ([1], "expected a finite number"),
        (10**400, "expected a finite number"),
    ],
)
@pytest.mark.parametrize("kind", ["regression", "embedding"])
def test_what_is_no_number_is_refused_with_advice(kind: str, value: Any, message: str) -> None:
    with pytest.raises(DataError, match=f"task t: column 'label': .*{message}"):
        tasks.build({"kind": kind, "target": "label"}, "t").reference({"label": value})


@pytest.mark.parametrize(
    "value", ["101", "1,0", "[1, 0]", "1 x", ["1", ""], ["1", None], 3, "-1 0"]
)
def test_relevance_is_a_list_or_text_with_spaces(value: Any) -> None:
    task = tasks.build({"kind": "ranking", "target": "label"}, "t")
    if value == "101":
        assert task.reference({"label": value}) == [101.0]
        return
    with pytest.raises(DataError, match="task t: column 'label': expected a list with a number"):
        task.reference({"label": value})


def spans(kind: str) -> list[dict[str, Any]]:
    return [{"head": [0, 1], "tail": [1, 2], "type": kind}]


SPELLED: dict[str, tuple[dict[str, Any], Any]] = {
    # what makes the cell of a row with a label
    "classification": ({}, str),
    "multilabel": ({}, lambda label: [label]),
    "tagging": ({"scheme": "none"}, lambda label: [label]),
    "feats": ({}, lambda label: [label]),
    "relations": ({}, spans),
}
PAIRS = [
    ("good", "good "),
    ("bad", "Bad"),
    ("café", unicodedata.normalize("NFD", "café")),
    ("new york", "new  york"),
    ("a b", "a\u00a0b"),
    ("true", "True"),
    ("ＡＢ", "AB"),
    ("zero", "ze\u200bro"),
    ("❤", "❤\ufe0f"),
]
every_spelled = pytest.mark.parametrize("kind", SPELLED)


def row_of(kind: str, label: str) -> dict[str, Any]:
    return {"tokens": ["v", "w"], "tags": [[0, 1], [1, 2]], "label": SPELLED[kind][1](label)}


def fitted(kind: str, labels: Iterable[str], **options: Any) -> Task:
    task = tasks.build({"kind": kind, "target": "label", **SPELLED[kind][0], **options}, "t")
    task.set_columns(("tokens", "tags"))
    task.fit([task.training_label(row_of(kind, label)) for label in labels])
    return task


def label_in(reference: Any) -> str:
    one = reference if isinstance(reference, str) else reference[0]
    return str(one["type"] if isinstance(one, dict) else one)


@every_spelled
@pytest.mark.parametrize("pair", PAIRS)
def test_near_equal_labels_are_named_or_merged(kind: str, pair: tuple[str, str]) -> None:
    often, seldom = pair
    labels = [often] * 3 + [seldom] * 2 + ["else"] * 4
    task = fitted(kind, labels)
    assert {*task.labels} == {often, seldom, "else"}
    (note,) = task.notes()
    assert f"{often!r} (3 times) and {seldom!r} (2 times)" in note
    assert "merge_labels: true" in note
    merged = fitted(kind, labels, merge_labels=True)
    assert {*merged.labels} == {often, "else"}
    for label in pair:
        assert label_in(merged.reference(row_of(kind, label))) == often
    again = tasks.build(
        {"kind": kind, "target": "label", **SPELLED[kind][0], "merge_labels": True}, "t"
    )
    again.set_columns(("tokens", "tags"))
    again.restore(json.loads(json.dumps(merged.state())))
    for label in (*pair, "Else "):
        found = label_in(again.reference(row_of(kind, label)))
        assert found == ("else" if label == "Else " else often)
    assert nearly_equal(seldom, [often, "else"]) == often
    assert nearly_equal(often, [often, "else"]) is None


@every_spelled
def test_different_labels_have_no_note_and_stay_apart(kind: str) -> None:
    labels = ["a", "b", "ab", "1.1", "1.10", "01", "10", "+1", "a-b"]
    for merge in (False, True):
        task = fitted(kind, labels, merge_labels=merge)
        assert not task.notes()
        assert {*task.labels} == {*labels}


@every_spelled
def test_a_note_names_three_groups_and_counts_the_others(kind: str) -> None:
    labels = [spelling for at in range(5) for spelling in (f"w{at}", f"W{at}")]
    (note,) = fitted(kind, labels).notes()
    assert note.count(" and 'W") + note.count(" and 'w") == 3
    assert "… and 2 more" in note


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["a", "A", "A ", "b", "B", "c"]), min_size=1, max_size=20))
def test_the_kept_spelling_is_the_most_frequent_one(labels: list[str]) -> None:
    counts = Counter(labels)
    kept = {
        form: max(
            (one for one in sorted(counts) if one.strip().lower() == form), key=counts.__getitem__
        )
        for form in {label.strip().lower() for label in labels}
    }
    for kind in SPELLED:
        task = fitted(kind, labels, merge_labels=True)
        assert {*task.labels} == {*kept.values()}


def test_tags_are_merged_by_the_label_of_their_span() -> None:
    rows = [["B-PER", "I-per", "O"], ["B-per", "I-per", "O"], ["B-PER", "I-PER"], ["B-PER", "O"]]
    task = tasks.build({"kind": "tagging", "merge_labels": True}, "t")
    task.fit([task.training_label({"tags": row}) for row in rows])
    assert task.labels == ("B-PER", "I-PER", "O")
    assert task.reference({"tags": ["B-Per", "I-per", "O"]}) == ["B-PER", "I-PER", "O"]


def test_given_labels_decide_the_spelling() -> None:
    options: dict[str, Any] = {"kind": "classification", "labels": ["Good", "bad"]}
    task = tasks.build(options, "t")
    with pytest.raises(
        DataError, match=r"no label 'good'.*'Good' only in case.*merge_labels: true"
    ):
        task.reference({"label": "good"})
    task = tasks.build({**options, "merge_labels": True, "class_weights": {"BAD": 2.0}}, "t")
    task.fit([task.training_label({"label": label}) for label in ("good", "good ", "BAD")])
    assert task.labels == ("Good", "bad")
    assert task.state()["weights"] == [1.0, 2.0]
    with pytest.raises(RecipeError, match="'A' and 'a' are one label"):
        tasks.build({"kind": "multilabel", "labels": ["a", "A"], "merge_labels": True}, "t")
    choice = tasks.build({"kind": "multiple_choice", "names": ["A"], "merge_labels": True}, "t")
    assert choice.reference({"label": "a "}) == "A"
    relations = tasks.build(
        {"kind": "relations", "pairs": "first", "negative": "no", "merge_labels": True}, "t"
    )
    relations.set_columns(("tokens", "tags"))
    assert relations.reference({"tags": [[0, 1], [1, 2]], "relations": "No"}) == []


def test_labels_of_one_row_that_are_merged_count_once() -> None:
    task = tasks.build(
        {"kind": "multilabel", "merge_labels": True, "class_weights": "balanced"}, "t"
    )
    task.fit(
        [task.training_label({"label": labels}) for labels in (["a", "A"], ["a", "A"], ["b"], [])]
    )
    assert task.labels == ("A", "b")
    assert task.state()["weights"] == [1.0, 3.0]
    assert task.reference({"label": ["a", "A"]}) == ["A"]


def test_labels_that_are_numbers_suggest_regression() -> None:
    assert "regression" in fitted("classification", ["0.5", "1", "2.5"]).notes()[0]
    assert not fitted("classification", ["0", "1", "2"]).notes()
    assert not fitted("classification", ["0.5", "x"]).notes()


def test_empty_cells_are_counted_in_a_note() -> None:
    options = {"kind": "multilabel", "delimiter": ","}
    task = tasks.build(options, "t")
    task.fit([task.training_label({"label": cell}) for cell in ("a,b", None, "", "a")])
    (note,) = task.notes()
    assert "In 2 of 4 training rows column 'label' is empty" in note
    assert "empty: missing" in note
    task.fit([task.training_label({"label": cell}) for cell in ("a,b", "a")])
    assert not task.notes()
    with pytest.raises(DataError, match="no training row has a label"):
        task.fit([task.training_label({"label": None})])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(*[st.sets(st.sampled_from("abc"))] * 2), min_size=1, max_size=6))
def test_empty_sets_are_scored_as_scikit_learn_does(rows: list[tuple[set[str], set[str]]]) -> None:
    true, predicted = ([sorted(one) for one in column] for column in zip(*rows, strict=True))
    binary = MultiLabelBinarizer(classes=list("abc"))
    columns = binary.fit_transform(true), binary.transform(predicted)
    exact = float(np.mean([*map(np.array_equal, *columns)]))
    assert metrics.build("exact_match", "abc")(true, predicted) == pytest.approx(exact)
    if any(true) or any(predicted):
        expected = f1_score(*columns, average="micro", zero_division=0)
        found = metrics.build({"kind": "f1", "average": "micro"}, "abc")(true, predicted)
        assert found == pytest.approx(expected)


NASTY = "a,;|\t\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029 \\\"'é"
nasty = st.text(st.sampled_from(NASTY), min_size=1, max_size=8)


def split(line: str, delimiter: str) -> list[str]:
    (row,) = csv.reader([line], delimiter=delimiter)
    return row


@settings(max_examples=80, deadline=None)
@given(st.lists(st.lists(nasty, min_size=1, max_size=3), min_size=1, max_size=4))
def test_files_have_one_line_per_row_whatever_texts_hold(rows: list[list[str]]) -> None:
    words = [(own,) for own in rows]
    whole = [[0, len(own)] for own in rows]
    lines_of: dict[str, list[Any]] = {
        "classification": [own[0] for own in rows],
        "multiple_choice": [own[0] for own in rows],
        "multilabel": rows,
        "keyphrases": [[{"text": text} for text in own] for own in rows],
        "generation": [own[0] for own in rows],
        "instruction": [own[0] for own in rows],
        "span": [[{"text": own[0], "start": 0}] for own in rows],
        "extraction": [[1.0] * len(own) for own in rows],
        "relations": [
            [{"head": span, "tail": span, "type": own[0]}]
            for own, span in zip(rows, whole, strict=True)
        ],
        "regression": [0.5 for _ in rows],
    }
    found = {}
    for kind, predictions in lines_of.items():
        found[kind] = tasks.build(kind, "t").scorer_lines(predictions, predictions, words)
        text = "".join(f"{line}\n" for line in found[kind])
        assert text.splitlines() == found[kind], kind
        assert len(found[kind]) == len(rows), kind
    assert [len(split(line, ",")) for line in found["multilabel"]] == [*map(len, rows)]
    assert [len(split(line, ";")) for line in found["keyphrases"]] == [*map(len, rows)]
    for own, line in zip(rows, found["multilabel"], strict=True):
        plain = [one for one in own if len(one.splitlines()) == 1 and not one[-1:].isspace()]
        assert {*plain} <= {*split(line, ",")}


@settings(max_examples=80, deadline=None)
@given(st.lists(st.lists(nasty, min_size=1, max_size=3), min_size=1, max_size=4))
def test_blocks_have_one_line_per_word_with_all_columns(rows: list[list[str]]) -> None:
    arcs = [[[0, label] for label in own] for own in rows]
    blocks_of: dict[str, tuple[list[Any], int]] = {
        "tagging": ([*rows], 3),
        "feats": ([*rows], 3),
        "lemma": ([*rows], 3),
        "parsing": ([*arcs], 5),
    }
    for kind, (labels, columns) in blocks_of.items():
        words = [(own,) for own in rows]
        lines = tasks.build(kind, "t").scorer_lines(labels, labels, words)
        blocks = "".join(f"{line}\n" for line in lines).split("\n\n")
        assert [block.count("\n") + 1 for block in blocks[:-1]] == [*map(len, rows)]
        text = "".join(f"{line}\n" for line in lines)
        assert all(len(line.split()) == columns for line in text.splitlines() if line)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(st.sampled_from(NASTY), max_size=6), min_size=2, max_size=2))
def test_treebank_cells_stay_in_their_columns(values: list[str]) -> None:
    sentence = "".join(f"{at}\tw\t_\t_\t_\t_\t0\troot\t_\t_\n" for at in (1, 2))
    filled = fill_columns(sentence, {"lemma": values, "upos": values})
    rows = [line.split("\t") for line in filled.rstrip("\n").splitlines()]
    assert [len(row) for row in rows] == [10, 10]
    for row, value in zip(rows, values, strict=True):
        assert row[2] == (" ".join(value.split()) or "_")
        assert " " not in row[3]
        assert row[3]


def test_labels_keep_their_place_whatever_the_order_of_rows() -> None:
    draw = random.Random(0)
    labels = ["b", "B", "a", "A", "a ", "c"] * 3
    first = fitted("classification", labels, merge_labels=True)
    for _ in range(5):
        draw.shuffle(labels)
        assert fitted("classification", labels, merge_labels=True).labels == first.labels
