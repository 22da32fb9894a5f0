"""Rows on disk: growing schemas, mixed types, the cache."""

import json
import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings, strategies as st

from polytask.core.batch import Row
from polytask.core.errors import DataError
from polytask.data import arrow
from polytask.data.rows import each_row
from polytask.data.sources import sources
from polytask.data.stored_tables import cache_table, spool
from polytask.data.tables import Origin, Table, add_location

CHUNK = 1000
"""Rows that are written at once; types may change between two chunks and inside one."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POLYTASK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def stored(rows: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    return list(spool(rows, folder))


def rows_table(rows: list[dict[str, Any]]) -> Table:
    return sources.build({"kind": "rows", "rows": rows}, ()).load()["all"]


def jsonl(folder: Path, *lines: object) -> Table:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "rows.jsonl").write_text(text, encoding="utf-8")
    return sources.build({"kind": "jsonl", "path": "rows.jsonl"}, (folder,)).load()["all"]


@pytest.mark.parametrize("apart", [0, CHUNK, 2 * CHUNK + 1])
@pytest.mark.parametrize(
    ("early", "late", "as_stored"),
    [
        (None, 1, [None, 1]),
        (1, 2.5, [1.0, 2.5]),
        (2.5, 1, [2.5, 1.0]),
        (2**60, 0.5, [float(2**60), 0.5]),
        (1, "other", ["1", "other"]),
        ("other", 1, ["other", "1"]),
        (1.0, "other", ["1", "other"]),
        (2.5, "other", ["2.5", "other"]),
        (True, "maybe", ["true", "maybe"]),
        (True, 1, ["true", "1"]),
        (2**70, "other", [str(2**70), "other"]),
        ([], ["a"], [[], ["a"]]),
        ([1], ["a"], [["1"], ["a"]]),
        ([None], [0.5], [[None], [0.5]]),
        ({"a": 1}, {"b": "x"}, [{"a": 1, "b": None}, {"a": None, "b": "x"}]),
        ({"a": 1}, {"a": "x", "b": 2}, [{"a": "1", "b": None}, {"a": "x", "b": 2}]),
        ([{"at": 1}], [{"at": "end"}], [[{"at": "1"}], [{"at": "end"}]]),
    ],
)
def test_a_column_takes_the_type_that_holds_all_its_values(
    early: Any, late: Any, as_stored: list[Any], apart: int, tmp_path: Path
) -> None:
    rows = [{"x": early}, *[{"x": None}] * apart, {"x": late}]
    found = stored(rows, tmp_path)
    assert [found[0]["x"], found[-1]["x"]] == as_stored
    assert len(found) == len(rows)


def test_columns_that_appear_late_or_vanish_are_null_elsewhere(tmp_path: Path) -> None:
    rows = [{"a": 1}] * CHUNK + [{"b": "x"}] * CHUNK + [{"a": 2, "c": [1.5]}]
    found = stored(rows, tmp_path)
    assert found[0] == {"a": 1, "b": None, "c": None}
    assert found[CHUNK] == {"a": None, "b": "x", "c": None}
    assert found[-1] == {"a": 2, "b": None, "c": [1.5]}


VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.integers(2**63)
    | st.floats(allow_nan=False)
    | st.text()
)


@settings(max_examples=60, deadline=None)
@given(st.lists(VALUES | st.lists(st.text() | st.integers(0, 9)), max_size=8), st.integers(1, 8))
def test_it_does_not_matter_where_a_chunk_ends(
    tmp_path_factory: pytest.TempPathFactory, values: list[Any], chunk: int
) -> None:
    assume(len({isinstance(value, list) for value in values if value is not None}) < 2)
    rows = [{"x": value} for value in values]
    folder = tmp_path_factory.mktemp("rows")
    together = stored(rows, folder)
    with mock.patch.object(arrow, "_CHUNK", chunk):
        assert stored(rows, folder) == together


@settings(max_examples=60, deadline=None)
@given(st.lists(VALUES, max_size=8))
def test_no_value_is_lost_whatever_the_mixture(
    tmp_path_factory: pytest.TempPathFactory, values: list[Any]
) -> None:
    found = stored([{"x": value} for value in values], tmp_path_factory.mktemp("rows"))
    for value, row in zip(values, found, strict=True):
        same = row["x"] == value or row["x"] in (str(value), json.dumps(value))
        assert same or float(row["x"]) == value


def test_arrays_keep_their_precision_and_shape(tmp_path: Path) -> None:
    image = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    data = spool([{"image": image, "size": np.int32(3)}, {"image": image[:1]}], tmp_path)
    assert data[0] == {"image": image.tolist(), "size": 3}
    assert data[1] == {"image": image[:1].tolist(), "size": None}
    assert str(data.features["image"]) == "List(List(List(Value('float32'))))"


def test_no_rows_are_no_rows(tmp_path: Path) -> None:
    assert stored([], tmp_path) == []


@pytest.mark.parametrize("apart", [1, CHUNK])
def test_texts_and_lists_in_one_column_are_refused_with_their_place(
    apart: int, tmp_path: Path
) -> None:
    table = jsonl(tmp_path, *[{"x": "a"}] * apart, {"x": ["a", "b"]})
    with pytest.raises(DataError, match=rf"rows\.jsonl:{apart + 1}: column 'x': a list found"):
        list(table.column("x"))


@pytest.mark.parametrize("value", [object(), {1: 2}, "\ud83d"])
def test_values_that_no_file_can_hold_are_refused_with_their_place(value: Any) -> None:
    table = rows_table([{"x": None}, {"x": value}])
    with pytest.raises(DataError, match=r"rows\[1\]: column 'x': .*expected numbers, texts"):
        list(table.column("x"))


def test_half_of_a_character_is_named(tmp_path: Path) -> None:
    """As in texts that were cut in the middle of an emoji."""
    with pytest.raises(DataError, match=r"rows.jsonl:2: .*half of a character found, '.ud83d'"):
        list(jsonl(tmp_path, {"x": "a"}, {"x": "b \ud83d"}).column("x"))


def test_the_names_of_the_hidden_columns_are_reserved(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"rows\.jsonl:2: column '_file or _line'.* is reserved"):
        jsonl(tmp_path, {"x": 1}, {"_line": 1})


def test_tables_can_be_sent_to_other_processes() -> None:
    table = rows_table([{"x": number} for number in range(10)]).select([3, 5])
    assert list(pickle.loads(pickle.dumps(table)).column("x")) == [3, 5]


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    pool = pa.proxy_memory_pool(pa.default_memory_pool())
    before = pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        rows = ({"text": f"{number:01000}", "x": number} for number in range(30 * CHUNK))
        arrow.write_rows(rows, tmp_path / "rows")
    finally:
        pa.set_memory_pool(before)
    size = (tmp_path / "rows").stat().st_size
    assert size > 30_000_000
    assert pool.max_memory() < size / 5


def test_rows_read_at_random_are_the_rows_written(tmp_path: Path) -> None:
    data = spool(({"x": number} for number in range(5 * CHUNK)), tmp_path)
    indices = np.random.default_rng(0).permutation(5 * CHUNK)[:200].tolist()
    assert data[indices]["x"] == indices


def test_an_unknown_column_is_named_with_the_nearest() -> None:
    table = rows_table([{"text": "a", "label": 1}])
    with pytest.raises(DataError, match=r"no column 'lable'\. Did you mean 'label'\?"):
        list(table.column("lable"))


def test_a_selection_gives_the_column_of_its_rows() -> None:
    table = rows_table([{"x": number} for number in range(10)])
    assert list(table.select(np.array([7, 0, 3])).column("x")) == [7, 0, 3]


def entry(cache: Path) -> Path:
    (path,) = cache.glob("*.arrow")
    return path


@pytest.mark.parametrize("at", [0.0, 0.3, 0.6, 1.0])
def test_one_flipped_byte_in_the_cache_is_noticed(at: float, tmp_path: Path, cache: Path) -> None:
    jsonl(tmp_path, {"x": "text"})
    path = entry(cache)
    content = bytearray(path.read_bytes())
    whole = bytes(content)
    content[int(at * (len(content) - 1))] ^= 1
    path.write_bytes(content)
    assert list(jsonl(tmp_path, {"x": "text"}).column("x")) == ["text"]
    assert path.read_bytes() == whole


@pytest.mark.parametrize("left", [0, 10, 100, -1])
def test_a_cut_off_cache_file_is_rebuilt(left: int, tmp_path: Path, cache: Path) -> None:
    jsonl(tmp_path, {"x": "text"})
    entry(cache).write_bytes(entry(cache).read_bytes()[:left])
    assert list(jsonl(tmp_path, {"x": "text"}).column("x")) == ["text"]


def test_broken_input_leaves_nothing_in_the_cache(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(DataError):
        jsonl(tmp_path, {"x": "a"}, ["no object"])
    assert list(cache.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("POLYTASK_CACHE", str(tmp_path / "file" / "cache"))
    assert list(jsonl(tmp_path, {"x": 1}).column("x")) == [1]


def test_the_usual_place_of_caches_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POLYTASK_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    jsonl(tmp_path, {"x": 1})
    assert entry(tmp_path / "caches" / "polytask").is_file()


def test_two_may_convert_the_same_file_at_once(cache: Path) -> None:
    both_have_started = threading.Barrier(2, timeout=60)

    def read() -> Iterator[Row]:
        both_have_started.wait()
        return (add_location({"x": number}, 0, number) for number in range(2 * CHUNK))

    def convert(_: int) -> list[int]:
        table = cache_table({}, read, Origin(("file",), "{file}:{line}", "0"))
        return list(table.column("x"))

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(convert, range(2))) == [list(range(2 * CHUNK))] * 2
    assert list(cache.iterdir()) == [entry(cache)]


def test_a_column_of_mixed_values_does_not_stop_the_others(tmp_path: Path) -> None:
    rows = [{"x": n, "mixed": n if n < 5 else {"at": n}} for n in range(2 * CHUNK)]
    jsonl(tmp_path, *rows)
    table = jsonl(tmp_path, *rows)  # from the cache
    assert table.columns == ["x", "mixed"]
    assert list(table.column("x")) == [row["x"] for row in each_row(table)] == [*range(2 * CHUNK)]
    for read in (
        lambda: list(table.column("mixed")),
        lambda: next(each_row(table))["mixed"],
        lambda: list(table.column("mixed.at")),
        lambda: table.require("mixed"),
    ):
        with pytest.raises(DataError, match=r"rows\.jsonl:6: column 'mixed': a mapping found"):
            read()


def test_values_inside_mappings_are_columns(tmp_path: Path) -> None:
    rows = [
        {"t": {"en": "a", "de": {"x": 1}}},
        {"t": None, "t.de": "own"},
        {"t": {"en": "b"}},
    ]
    table = jsonl(tmp_path, *rows)
    assert {"t", "t.en", "t.de", "t.de.x"} == {*table.columns}
    for name, expected in [
        ("t.en", ["a", None, "b"]),
        ("t.de", [None, "own", None]),
        ("t.de.x", [1, None, None]),
    ]:
        assert list(table.column(name)) == expected
        assert [row[name] for row in each_row(table)] == expected
    assert list(table.select([2, 0]).column("t.en")) == ["b", "a"]
    assert "t.fr" not in next(each_row(table))
    with pytest.raises(DataError, match=r"no column 't\.ne'\. Did you mean 't\.en'\?"):
        list(table.column("t.ne"))


@pytest.mark.parametrize("value", ["[" * 400 + "]" * 400, '{"x":' * 400 + "1" + "}" * 400])
def test_values_that_are_too_deep_are_named_when_they_are_read(value: str, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(f'{{"x": 1}}\n{{"x": 1, "deep": {value}}}')
    table = sources.build({"kind": "jsonl", "path": "rows.jsonl"}, (tmp_path,)).load()["all"]
    assert list(table.column("x")) == [1, 1]
    with pytest.raises(DataError, match=r"rows\.jsonl:2: column 'deep': more than 50 lists"):
        list(table.column("deep"))
