"""Plain text: what a row is, and where it is said to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from polytask.core.errors import DataError
from polytask.data.sources import sources

TEXT = "\n one\ntwo \n \t\n三\n\n\n"


@pytest.mark.parametrize(
    ("row", "texts", "lines"),
    [("line", [" one", "two ", "三"], [2, 3, 5]), ("paragraph", [" one\ntwo ", "三"], [2, 5])],
)
def test_rows_are_lines_or_paragraphs(
    row: str, texts: list[str], lines: list[int], tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text(TEXT, encoding="utf-8")
    table = sources.build({"kind": "text", "path": "a.txt", "row": row}, (tmp_path,)).load()["all"]
    assert [found["text"] for found in table.rows.to_list()] == texts
    assert [table.where(place) for place in range(len(table))] == [
        f"{tmp_path / 'a.txt'}:{line}" for line in lines
    ]


def test_a_file_of_blank_lines_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n \n", encoding="utf-8")
    with pytest.raises(DataError, match="holds no rows"):
        sources.build({"kind": "text", "path": "a.txt"}, (tmp_path,)).load()
