"""Sources in many files: folders and patterns."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from polytask.core.errors import DataError
from polytask.data.sources import sources


@pytest.fixture(autouse=True)
def shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYTASK_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "data"
    folder.mkdir()
    for number in (2, 0, 1):
        (folder / f"part-{number}.jsonl").write_text(f'{{"x": {number}}}\n')
    (folder / "part-3.jsonl.gz").write_bytes(gzip.compress(b'{"x": 3}\n'))
    for name in ("_SUCCESS", ".part-0.jsonl.crc", ".hidden.jsonl", "README.md"):
        (folder / name).write_text("other")


def numbers(folder: Path, path: Any) -> list[int]:
    return [*sources.build({"kind": "jsonl", "path": path}, (folder,)).load()["all"].column("x")]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("data", [0, 1, 2, 3]),
        ("data/part-*.jsonl*", [0, 1, 2, 3]),
        ("data/part-[12].jsonl", [1, 2]),
        ("*/part-?.jsonl", [0, 1, 2]),
        ("**/*.jsonl", [0, 1, 2]),
        (["data/part-2*", "data/part-0.jsonl"], [2, 0]),
    ],
)
def test_files_are_read_in_the_order_of_their_names(
    path: Any, found: list[int], tmp_path: Path
) -> None:
    assert numbers(tmp_path, path) == found
    if isinstance(path, str):
        assert numbers(Path("/"), str(tmp_path / path)) == found


def test_a_row_keeps_its_file_and_line(tmp_path: Path) -> None:
    table = sources.build({"kind": "jsonl", "path": "data"}, (tmp_path,)).load()["all"]
    assert table.where(2) == f"{tmp_path / 'data' / 'part-2.jsonl'}:1"


def test_a_name_with_brackets_is_a_file_if_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "part[1].jsonl").write_text('{"x": 7}')
    assert numbers(tmp_path, "part[1].jsonl") == [7]


@pytest.mark.parametrize(
    ("kind", "path", "message"),
    [
        ("jsonl", "data/no-*", "data/no-\\*: no file matches this pattern. Looked in"),
        ("csv", "data", "data: the folder holds no file named \\*.csv; found README.md, part-0"),
        ("jsonl", "data/**x", "not a pattern of names"),
    ],
)
def test_names_that_stand_for_nothing_are_explained(
    kind: str, path: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        sources.build({"kind": kind, "path": path}, (tmp_path,)).load()


def test_the_case_of_an_ending_does_not_count(tmp_path: Path) -> None:
    folder = tmp_path / "upper"
    folder.mkdir()
    (folder / "A.CSV").write_text("x\na\n")
    (folder / "B.csv.GZ").write_bytes(gzip.compress(b"x\nb\n"))
    table = sources.build({"kind": "csv", "path": "upper"}, (tmp_path,)).load()["all"]
    assert [*table.column("x")] == ["a", "b"]
