"""Files of lines: where they are found, how they are read, what is said about broken ones."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from polytask.core.batch import Row
from polytask.core.errors import DataError
from polytask.data.sources import sources
from polytask.data.sources.files import find


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYTASK_CACHE", str(tmp_path / "cache"))


def read(kind: str, content: str | bytes, folder: Path, **options: Any) -> list[tuple[str, Row]]:
    """The rows of a file with their places, without the folder."""
    path = folder / "file"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    table = sources.build({"kind": kind, "path": "file", **options}, (folder,)).load()["all"]
    return [
        (Path(table.where(i)).name, {name: table.rows[i][name] for name in table.columns})
        for i in range(len(table))
    ]


def mistake(kind: str, content: str | bytes, folder: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(kind, content, folder, **options)
    return str(caught.value).replace(f"{folder}/", "")


def test_only_a_line_feed_ends_a_line_of_json(tmp_path: Path) -> None:
    texts = ["a\u2028b", "c\u0085d", "e\x0bf\x1cg", "h\r\ni"]
    lines = "\ufeff" + "\n\n".join(json.dumps({"x": x}, ensure_ascii=False) for x in texts)
    rows = read("jsonl", lines.replace("\n\n", "\r\n \n"), tmp_path)
    assert rows == [(f"file:{2 * n + 1}", {"x": text}) for n, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"x": }', "not valid JSON: Expecting value"),
        ("{", "not valid JSON"),
        ('{"x": 1} {"x": 2}', "not valid JSON: Extra data"),
        ("[" * 100_000, "not valid JSON"),
        ("[1, 2]", "not a JSON object: '[1, 2]' found"),
        ("null", "not a JSON object: 'null' found"),
    ],
)
def test_broken_json_is_named_by_its_line(line: str, message: str, tmp_path: Path) -> None:
    found = mistake("jsonl", '{"x": 1}\n' * 15 + "\n" + line + "\n", tmp_path)
    assert found.startswith(f"file:17: {message}")
    assert found.endswith("expected one object per line")


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv", "conll", "conllu"])
def test_bytes_that_are_not_utf8_are_named_by_their_line(kind: str, tmp_path: Path) -> None:
    lines = {"jsonl": "{}", "csv": "x", "tsv": "x", "conll": "x y", "conllu": "# x"}
    found = mistake(kind, f"{lines[kind]}\n".encode() * 2 + b"caf\xe9\n", tmp_path)
    assert found.startswith("file:3: not UTF-8 text (")


def test_packed_files_that_are_cut_off_or_damaged_are_named(tmp_path: Path) -> None:
    whole = gzip.compress(b'{"x": "some text"}\n' * 1000)
    damaged = bytearray(whole)
    damaged[-6] ^= 255  # in the checksum
    for content in (whole[:-4], whole[: len(whole) // 2], bytes(damaged)):
        assert mistake("jsonl", content, tmp_path).startswith("file: a damaged gzip file (")


def test_cells_of_a_csv_stay_text(tmp_path: Path) -> None:
    rows = read("csv", "a,b,c\nnull,NA,007\nnan,1e5,True\n,,x\n", tmp_path)
    assert [row for _, row in rows] == [
        {"a": "null", "b": "NA", "c": "007"},
        {"a": "nan", "b": "1e5", "c": "True"},
        {"a": None, "b": None, "c": "x"},
    ]


def test_lines_of_a_csv_are_counted_through_quotes_and_blanks(tmp_path: Path) -> None:
    content = '\ufeffa,b\r\n"one\r\ntwo, ""2""",1\r\n\r\nx,2\r\n"\u2028",3'
    assert read("csv", content, tmp_path) == [
        ("file:2", {"a": 'one\r\ntwo, "2"', "b": "1"}),
        ("file:5", {"a": "x", "b": "2"}),
        ("file:6", {"a": "\u2028", "b": "3"}),
    ]


def test_long_cells_are_read(tmp_path: Path) -> None:
    ((_, row),) = read("csv", "a\n" + "x" * 200_000, tmp_path)
    assert len(row["a"]) == 200_000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "file: the file is empty"),
        ("\n\n", "file: the file is empty"),
        ("a,b\n", "file: the file holds no rows"),
        ("a,a\n1,2\n", "file:1: expected a different name for every column, found 'a', 'a'"),
        ("a,\n1,2\n", "file:1: expected a different name for every column, found 'a', ''"),
        ('a,b\n"x\ny",1\n\n1,2,3\n', "file:5: 3 cells found, 2 expected (a, b)."),
        ("a;b,c\n1;2\n", "file:2: 1 cells found, 2 expected (a;b, c). Is ',' the right"),
        ('a,b\n1,2\n3,"x\n5,6\n', "file:3: not a valid record: unexpected end of data"),
        ('a,b\n"x"y,2\n', "file:2: not a valid record"),
        ("a,b\n1,2\r3,4\n", "file:2: not a valid record"),
    ],
)
def test_broken_csv_is_named_by_its_line(content: str, message: str, tmp_path: Path) -> None:
    assert mistake("csv", content, tmp_path).startswith(message)


def test_other_delimiters_and_quotes(tmp_path: Path) -> None:
    semicolons = read("csv", "a;b\n1,5;2\n", tmp_path, delimiter=";")
    assert semicolons == [("file:2", {"a": "1,5", "b": "2"})]
    literal = read("tsv", 'a\tb\n"x\ty"\n', tmp_path)
    assert literal == [("file:2", {"a": '"x', "b": 'y"'})]
    quoted = read("tsv", 'a\tb\n"x\ty"\tz\n', tmp_path, quotes=True)
    assert quoted == [("file:2", {"a": "x\ty", "b": "z"})]


def test_broken_parquet_is_named(tmp_path: Path) -> None:
    assert mistake("parquet", b"PAR1 but no table", tmp_path).startswith(
        "file: not a valid Parquet file"
    )


def test_a_file_is_looked_for_in_every_folder(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "two" / "rows.jsonl").touch()
    search = (tmp_path / "one", tmp_path / "two")
    assert find("rows.jsonl", search) == tmp_path / "two" / "rows.jsonl"
    (tmp_path / "one" / "rows.jsonl").touch()
    assert find("rows.jsonl", search) == tmp_path / "one" / "rows.jsonl"
    absolute = str(tmp_path / "two" / "rows.jsonl")
    assert find(absolute, search) == tmp_path / "two" / "rows.jsonl"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("sets/emotion/train.jsonl", "sets/emotion/train.jsonl.gz"),
        ("sets/emotoin/train.jsonl.gz", "sets/emotion"),
        ("set/emotion/train.jsonl.gz", "sets"),
        ("nothing/like/it", None),
    ],
)
def test_a_missing_file_is_answered_with_the_nearest_name(
    name: str, meant: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sets" / "emotion").mkdir(parents=True)
    (tmp_path / "sets" / "emotion" / "train.jsonl.gz").touch()
    for is_set, hint in (("", False), ("x", True)):
        monkeypatch.delenv("POLYTASK_DATA", raising=False)
        if is_set:
            monkeypatch.setenv("POLYTASK_DATA", is_set)
        with pytest.raises(DataError, match=re.escape(f"{name}: no such file.")) as caught:
            find(name, (tmp_path / "absent", tmp_path))
        message = str(caught.value)
        assert f"Looked in {tmp_path / 'absent'}, {tmp_path}." in message
        assert ("POLYTASK_DATA" in message) is not hint
        assert (f"Did you mean {tmp_path / (meant or '')}?" in message) is (meant is not None)


def test_a_file_that_may_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "file").touch()
    source = sources.build({"kind": "jsonl", "path": "file"}, (tmp_path,))
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"file: cannot be read: Permission denied\."):
        source.load()


@pytest.mark.parametrize("split", ["rows", "test"])
def test_no_rows_in_memory_are_named(split: str) -> None:
    with pytest.raises(DataError, match="rows: no rows; expected at least one"):
        sources.build({"kind": "rows", split: []}, ()).load()


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a folder was found where a file was expected"):
        find(str(tmp_path), ())
