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
