"""JSON files that are not lines: lists of objects, and SQuAD."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from polytask.core.errors import DataError
from polytask.data.sources import sources
from polytask.data.tables import Table

ROWS = [{"text": "好", "tags": ["A", "B"]}, {"text": "bad", "tags": []}]


def read(kind: str, content: Any, folder: Path, *, indent: int | None = None) -> Table:
    text = content if isinstance(content, str) else json.dumps(content, indent=indent)
    (folder / "file").write_text(text, encoding="utf-8-sig")
    return sources.build({"kind": kind, "path": "file"}, (folder,)).load()["all"]


def rows_of(table: Table) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = table.rows.remove_columns(["_file", "_line"]).to_list()
    return found


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("content", [ROWS, {"version": "1", "count": 2, "data": ROWS}])
def test_a_list_of_objects_wherever_it_is(content: Any, indent: int | None, tmp_path: Path) -> None:
    table = read("json", content, tmp_path, indent=indent)
    assert rows_of(table) == ROWS
    assert table.where(1) == f"{tmp_path / 'file'}, object 2"


def test_objects_may_follow_each_other(tmp_path: Path) -> None:
    text = "\n".join(map(json.dumps, ROWS))
    assert rows_of(read("json", text, tmp_path)) == ROWS


def test_an_object_alone_is_a_row(tmp_path: Path) -> None:
    assert rows_of(read("json", ROWS[0], tmp_path)) == ROWS[:1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "file: not valid JSON: Expecting value at line 1, column 1"),
        ('[{"a": 1},\n{"a"}]', "file: not valid JSON: .* at line 2, column 5"),
        ('{"a": 1}\n{"a"}', "file:2: not valid JSON"),
        ('[{"a": 1}]\n{"a": 2}', "file:1: not a JSON object"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "holds no rows"),
        ("3", "file, object 1: 3 found, expected an object"),
        ([{"a": 1}, "好"], 'file, object 2: "好" found, expected an object'),
        ({"a": ROWS, "b": ROWS}, "lists of objects under 'a', 'b' found; expected one"),
    ],
)
def test_what_is_no_list_of_objects_is_named(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read("json", content, tmp_path)


def squad(**question: Any) -> dict[str, Any]:
    asked = {"id": "q1", "question": "Who?", **question}
    return {
        "version": "v2.0",
        "data": [{"paragraphs": [{"context": "It was Ann.", "qas": [asked]}]}],
    }


ANSWER = {"text": "Ann", "answer_start": 7}


@pytest.mark.parametrize(
    ("question", "answers"),
    [
        ({"answers": [ANSWER]}, [{"text": "Ann", "start": 7}]),
        ({"answers": [ANSWER, ANSWER]}, [{"text": "Ann", "start": 7}] * 2),
        ({"answers": [], "is_impossible": True, "plausible_answers": [ANSWER]}, []),
        ({"answers": [ANSWER], "is_impossible": True}, []),
        ({}, []),
    ],
)
def test_a_question_of_squad_is_a_row(
    question: dict[str, Any], answers: list[Any], tmp_path: Path
) -> None:
    [row] = rows_of(read("squad", squad(**question), tmp_path))
    assert row == {
        "id": "q1",
        "title": None,
        "question": "Who?",
        "context": "It was Ann.",
        "answers": answers,
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected data"),
        ("[]", "expected data"),
        ({"data": [{"title": "T"}]}, r"file: data\.0\.paragraphs: Field required; expected data"),
        (squad(answers=[{"answer_start": 7}]), r"qas\.0\.answers\.0\.text: Field required"),
        ({"data": []}, "holds no rows"),
    ],
)
def test_what_is_not_squad_is_named(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read("squad", content, tmp_path)


FRAME = pd.DataFrame({"text": ["a film", "not bad", "c"], "label": [1, 2, 1]}, index=[4, 7, 9])


@pytest.mark.parametrize("orient", ["list", "columns", "index", "split", "records", "table"])
def test_tables_of_pandas_are_read(orient: Any, tmp_path: Path) -> None:
    if orient == "list":
        content = json.dumps(FRAME.to_dict("list"))
    else:
        content = str(FRAME.to_json(orient=orient))
    table = read("json", content, tmp_path)
    expected = FRAME.to_dict("records")
    assert [{n: row[n] for n in ("text", "label")} for row in rows_of(table)] == expected


@pytest.mark.parametrize(
    "content",
    [
        {"text": ["great", "awful"]},
        {"tokens": ["a", "b"], "tags": ["X", "Y"]},
        {"a": {"x": 1}, "b": {"x": 2}},
        {"0": {"1": "a"}, "1": {"1": "b"}},
    ],
)
def test_what_may_be_a_row_or_a_table_is_refused(content: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"may be .* one row.*orient='records'"):
        read("json", content, tmp_path)
    assert rows_of(read("json", [content], tmp_path)) == [content]
    assert len(read("jsonl", content, tmp_path)) == 1


@pytest.mark.parametrize(
    "row",
    [
        {"tokens": ["a", "b"], "spans": []},
        {"id": 1, "tokens": ["a", "b"]},
        {"translation": {"en": "a", "de": "b"}},
    ],
)
def test_an_object_that_is_no_table_is_a_row(row: Any, tmp_path: Path) -> None:
    table = read("json", row, tmp_path)
    assert len(table) == 1
    assert {name: next(table.column(name)) for name in row} == row


def test_a_key_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"file:2: .*key 'a' occurs twice"):
        read("jsonl", '{"a": 1}\n{"a": 1, "a": 2}', tmp_path)
    with pytest.raises(DataError, match="key 'b' occurs twice"):
        read("json", '[{"a": {"b": 1, "b": 1}}]', tmp_path)
