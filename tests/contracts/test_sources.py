"""What every source must do."""

import gzip
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest
from pyarrow import parquet

from polytask.core.batch import Row
from polytask.core.errors import DataError, RecipeError
from polytask.data.sources import sources
from polytask.data.sources.base import ALL, TEST, TRAIN, VALIDATION
from polytask.data.sources.files import FileSource
from polytask.data.tables import Table

NODE = "{}\t{}\t_\tNOUN\t_\t_\t0\troot\t_\t_\n"


def packed_table() -> bytes:
    sink = io.BytesIO()
    parquet.write_table(pa.table({"text": ["a", "b", "c"], "label": [1, 2, None]}), sink)
    return sink.getvalue()


FILES: dict[str, bytes] = {
    "jsonl": b'{"text": "a", "label": 1}\n{"text": "b"}\n\n{"text": "c"}\n',
    "json": b'{"version": 1, "data": [{"text": "a"}, {"text": "b"}, {"text": "c"}]}',
    "squad": json.dumps(
        {
            "data": [
                {
                    "title": "Letters",
                    "paragraphs": [
                        {
                            "context": "a b c",
                            "qas": [
                                {
                                    "id": n,
                                    "question": "?",
                                    "answers": [{"text": t, "answer_start": n}],
                                }
                                for n, t in ((0, "a"), (2, "b"), (4, "c"))
                            ],
                        }
                    ],
                }
            ]
        }
    ).encode(),
    "csv": b'text,label\na,1\n"b\nb",2\nc,\n',
    "tsv": b'text\tlabel\na\t1\nb"\t2\nc\t\n',
    "conll": b"a\tb\n\nc\td\ne\tf\n\ng\th\n",
    "conllu": "\n".join(NODE.format(1, word) for word in "abc").encode(),
    "parquet": packed_table(),
    "text": b"a\n\nb\nc\n",
}
"""Three rows in every format."""
FILE_KINDS = [kind for kind in sources.kinds() if issubclass(sources.part(kind), FileSource)]


def saved(folder: Path) -> dict[str, Any]:
    datasets.Dataset(pa.table({"text": ["a", "b", "c"]})).save_to_disk(folder / "saved")
    return {"path": "saved"}


def side_by_side(folder: Path) -> dict[str, Any]:
    for name, text in (("en", "a\nb\nc\n"), ("de", "A\n\nC\n")):
        (folder / name).write_text(text)
    return {"path": {"en": "en", "de": "de"}}


OTHERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "huggingface": saved,
    "parallel": side_by_side,
    "rows": lambda folder: {"rows": [{"text": text} for text in "abc"]},
    "synthetic": lambda folder: {"size": 30, "validation": 10, "test": 10},
}
"""Options of sources that read no files; those that are not named here need none."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POLYTASK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(params=sources.kinds())
def options(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    kind = str(request.param)
    if kind in FILE_KINDS:
        (tmp_path / "file").write_bytes(FILES[kind])
        return {"kind": kind, "path": "file"}
    return {"kind": kind, **(OTHERS[kind](tmp_path) if kind in OTHERS else {})}


def test_missing_files_are_those_that_cannot_be_loaded(
    options: dict[str, Any], tmp_path: Path
) -> None:
    assert list(sources.build(options, (tmp_path,)).find_missing_files()) == []
    gone = tmp_path / "gone"
    missing = list(sources.build(options, (gone,)).find_missing_files())
    files = {"path"} & options.keys() if options["kind"] != "huggingface" else set()
    assert {keys[0] for keys, _ in missing} == files
    for keys, text in missing:
        value: Any = options
        for key in keys:
            value = value[key]
        assert text.startswith(f"{value}: no such file. ")


@pytest.fixture(params=FILE_KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def load(options: dict[str, Any], folder: Path) -> dict[str, Table]:
    return sources.build(options, (folder,)).load()


def content(table: Table) -> list[Row]:
    rows: list[Row] = table.rows.select_columns(table.columns).to_list()
    return rows


def test_a_source_explains_itself_and_its_options() -> None:
    for kind in sources.kinds():
        assert sources.describe(kind)[0].endswith(".")
        for name, field in sources.schema(kind).model_fields.items():
            assert name == "kind" or field.description, f"{kind}: {name}"


def test_splits_have_the_usual_names_and_rows(options: dict[str, Any], tmp_path: Path) -> None:
    tables = load(options, tmp_path)
    assert tables
    assert tables.keys() <= {TRAIN, VALIDATION, TEST, ALL}
    for table in tables.values():
        assert len(table) == len(content(table)) > 0
        assert table.columns
        assert not any(name.startswith("_") for name in table.columns)


def test_loading_again_gives_the_same(options: dict[str, Any], tmp_path: Path) -> None:
    first, second = load(options, tmp_path), load(options, tmp_path)
    assert first.keys() == second.keys()
    for split in first:
        assert content(first[split]) == content(second[split])
        assert first[split].sha256 == second[split].sha256
        assert len(first[split].sha256) == 64


def test_every_row_has_a_place_of_its_own_and_keeps_it(
    options: dict[str, Any], tmp_path: Path
) -> None:
    for table in load(options, tmp_path).values():
        places = [table.where(index) for index in range(min(len(table), 20))]
        assert len(set(places)) == len(places)
        assert table.select([2, 0]).where(0) == places[2]
        assert content(table.select([2, 0])) == [content(table)[2], content(table)[0]]


def test_a_column_is_that_of_the_rows(options: dict[str, Any], tmp_path: Path) -> None:
    for table in load(options, tmp_path).values():
        for name in table.columns:
            assert list(table.column(name)) == [row[name] for row in content(table)]


def test_every_file_format_has_a_sample(kind: str) -> None:
    assert kind in FILES


def test_packed_files_hold_the_same_rows(kind: str, tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(FILES[kind])
    (tmp_path / "packed.gz").write_bytes(gzip.compress(FILES[kind]))
    tables = load({"kind": kind, "train": "plain", "test": "packed.gz"}, tmp_path)
    assert content(tables[TRAIN]) == content(tables[TEST])
    assert len(tables[TRAIN]) == 3


def test_several_files_are_read_one_after_the_other(kind: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(FILES[kind])
    table = load({"kind": kind, "path": ["one", "two"]}, tmp_path)[ALL]
    assert content(table)[:3] == content(table)[3:]
    assert table.where(0).replace("one", "two") == table.where(3)


@pytest.mark.parametrize("damage", [b"", gzip.compress(b"x" * 9)[:-6]], ids=["empty", "cut off"])
def test_empty_and_cut_off_files_are_named(kind: str, damage: bytes, tmp_path: Path) -> None:
    (tmp_path / "broken").write_bytes(damage)
    with pytest.raises(DataError, match="broken"):
        load({"kind": kind, "path": "broken"}, tmp_path)


def test_the_second_load_does_not_read_the_file(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(FILES[kind])
    first = content(load({"kind": kind, "path": "file"}, tmp_path)[ALL])

    def refuse(self: FileSource, path: Path) -> Iterator[tuple[int, Row]]:
        raise AssertionError

    monkeypatch.setattr(sources.part(kind), "read", refuse)
    shutil.move(tmp_path / "file", tmp_path / "elsewhere")
    table = load({"kind": kind, "path": "elsewhere"}, tmp_path)[ALL]
    assert content(table) == first
    assert "elsewhere" in table.where(0)


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    for text in ("one", "two"):
        (tmp_path / "file").write_text(json.dumps({"text": text}))
        table = load({"kind": "jsonl", "path": "file"}, tmp_path)[ALL]
        assert content(table) == [{"text": text}]


@pytest.mark.parametrize("given", [{}, {"train": "a", "path": "b"}, {"train": []}])
def test_rows_have_to_be_named_once(kind: str, given: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="expected"):
        load({"kind": kind, **given}, tmp_path)
