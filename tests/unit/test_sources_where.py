"""Rows of a file chosen by their columns."""

from __future__ import annotations

from pathlib import Path

import pytest

from polytask.core.errors import DataError
from polytask.data.sources import sources


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYTASK_CACHE", str(tmp_path / "cache"))


def test_rows_are_chosen_by_their_columns_and_keep_their_lines(tmp_path: Path) -> None:
    lines = ['{"task": "a", "n": 1}', '{"task": "b", "n": 1}', '{"task": "a", "n": 2}']
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    for where, numbers in [({"task": "a"}, [1, 3]), ({"task": "a", "n": 2}, [3]), ({}, [1, 2, 3])]:
        options = {"kind": "jsonl", "path": "rows.jsonl", "where": where}
        table = sources.build(options, (tmp_path,)).load()["all"]
        assert [table.where(i).rsplit(":", 1)[1] for i in range(len(table))] == [
            str(number) for number in numbers
        ]


def test_a_value_that_no_row_has_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"task": "a"}')
    options = {"kind": "jsonl", "path": "rows.jsonl", "where": {"task": "c"}}
    with pytest.raises(DataError, match="holds no rows whose task is 'c'; expected at least one"):
        sources.build(options, (tmp_path,)).load()


@pytest.mark.parametrize(
    ("wanted", "kept"),
    [
        (1, ["a", "b"]),
        ("1", ["a"]),
        (1.0, ["a", "b"]),
        ([1, 2], ["a", "b", "c"]),
        ("x", ["d"]),
        (True, ["e"]),
        (["x", True], ["d", "e"]),
    ],
)
def test_numbers_are_also_their_text(wanted: object, kept: list[str], tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("part,text\n1,a\n1.0,b\n2,c\nx,d\nTrue,e\n,f\n")
    options = {"kind": "csv", "path": "rows.csv", "where": {"part": wanted}}
    table = sources.build(options, (tmp_path,)).load()["all"]
    assert list(table.column("text")) == kept


def test_when_nothing_matches_the_values_are_listed(tmp_path: Path) -> None:
    lines = ['{"m": {"lang": "en"}, "n": 1}'] * 3 + ['{"m": {"lang": "de"}, "n": 2}']
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))

    def mistake(where: dict[str, object]) -> str:
        with pytest.raises(DataError) as caught:
            sources.build(
                {"kind": "jsonl", "path": "rows.jsonl", "where": where}, (tmp_path,)
            ).load()
        return str(caught.value)

    assert "Values of m.lang, with their rows: 'en' (3), 'de' (1)." in mistake({"m.lang": "fr"})
    assert "no column 'm.long'. Did you mean 'm.lang'?" in mistake({"m.long": "en"})


def test_one_of_several_files_may_hold_no_such_row(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text(f"part\n{name}\n")
    options = {"kind": "csv", "path": "*.csv", "where": {"part": "b"}}
    table = sources.build(options, (tmp_path,)).load()["all"]
    assert [table.where(0)] == [f"{tmp_path / 'b.csv'}:2"]
