"""Tables as text: files that are separated by something else than was said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from polytask.core.errors import DataError
from polytask.data.rows import each_row
from polytask.data.sources import sources
from polytask.data.tables import Table


@pytest.mark.parametrize(("kind", "delimiter"), [("csv", ";"), ("csv", "\t"), ("tsv", ",")])
def test_another_delimiter_is_recognised(kind: str, delimiter: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_text(f"text{delimiter}label\ngood{delimiter}1\n")
    with pytest.raises(DataError, match="a single name") as caught:
        sources.build({"kind": kind, "path": "a"}, (tmp_path,)).load()
    asked = "kind: tsv" if delimiter == "\t" else f"kind: csv, delimiter: {delimiter!r}"
    assert asked in str(caught.value)
    told = {"kind": "csv", "path": "a", "delimiter": delimiter}
    table = sources.build(told, (tmp_path,)).load()["all"]
    assert table.columns == ["text", "label"]


def test_a_table_may_have_one_column(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text\n"good, and late"\n')
    table = sources.build({"kind": "csv", "path": "a.csv"}, (tmp_path,)).load()["all"]
    assert [*table.column("text")] == ["good, and late"]


def read(content: str, folder: Path, **options: Any) -> Table:
    (folder / "a.csv").write_bytes(content.encode())
    return sources.build({"kind": "csv", "path": "a.csv", **options}, (folder,)).load()["all"]


def rows_of(table: Table) -> list[dict[str, Any]]:
    return [{name: row[name] for name in table.columns} for row in each_row(table)]


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_tables_of_pandas_are_read_without_their_row_numbers(
    index: bool, end: str, tmp_path: Path
) -> None:
    data = pd.DataFrame({"text": ["a, b", 'say "c"', "two\nlines"], "label": ["x", "y", "x"]})
    table = read(data.to_csv(index=index, lineterminator=end), tmp_path)
    assert rows_of(table) == data.to_dict("records")
    assert len(table.notes) == index
    again = read(data.to_csv(index=index, lineterminator=end), tmp_path)
    assert again.notes == table.notes


def test_a_table_of_pandas_may_have_several_row_numbers(tmp_path: Path) -> None:
    index = pd.MultiIndex.from_tuples([(0, "p"), (0, "q")])
    table = read(pd.DataFrame({"text": ["a", "b"]}, index=index).to_csv(), tmp_path)
    assert rows_of(table) == [{"text": "a"}, {"text": "b"}]
    assert table.notes == (
        f"{tmp_path / 'a.csv'}: columns without a name in the first line are not read: 1, 2.",
    )


def test_a_delimiter_may_end_all_lines(tmp_path: Path) -> None:
    table = read("\ufefftext;label;\r\n\r\na;x;\r\nb;;\r\n", tmp_path, delimiter=";")
    assert rows_of(table) == [{"text": "a", "label": "x"}, {"text": "b", "label": None}]
    with pytest.raises(DataError, match=r"a\.csv:3: 'y' found in a column without a name"):
        read("text,\na,\nb,y\n", tmp_path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("text,,label", r"a.csv:1: .* none for column 2 of 3 \(after 'text'\)"),
        (",text,,,label", r"a.csv:1: .* none for column 3, 4 of 5"),
        ("text,label,text", "a.csv:1: .* found 'text' in columns 1 and 3"),
        ("\n,a,a,b,b", "a.csv:2: .* 'a' in columns 2 and 3, 'b' in columns 4 and 5"),
        (",,", "a.csv:1: none of the columns has a name"),
    ],
)
def test_names_that_cannot_be_told_apart_are_counted(
    header: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        read(header + "\n1,2,3\n", tmp_path)
