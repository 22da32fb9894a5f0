"""Text files whose lines belong together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from polytask.core.errors import DataError, RecipeError
from polytask.data.sources import sources
from polytask.data.tables import Table

FILES = {
    "seq.in": "play 好 song\nhello\n\nbye now\n",
    "seq.out": "O B-what I-what\nO\n\nO O\n",
    "label": "play\n\n\n bye \n",
}
COLUMNS = {"tokens": "seq.in", "slots": "seq.out", "intent": "label"}


def read(folder: Path, files: dict[str, str] = FILES, **options: Any) -> Table:
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    given = {"path": COLUMNS, "words": ["tokens", "slots"], **options}
    return sources.build({"kind": "parallel", **given}, (folder,)).load()["all"]


def test_a_row_has_a_line_of_each_file(tmp_path: Path) -> None:
    table = read(tmp_path)
    assert table.rows.select_columns(table.columns).to_list() == [
        {"tokens": ["play", "好", "song"], "slots": ["O", "B-what", "I-what"], "intent": "play"},
        {"tokens": ["hello"], "slots": ["O"], "intent": None},
        {"tokens": [], "slots": [], "intent": None},
        {"tokens": ["bye", "now"], "slots": ["O", "O"], "intent": "bye"},
    ]
    assert table.where(3) == f"{tmp_path / 'seq.in'}:4"


def test_a_column_that_is_not_of_words_is_a_text(tmp_path: Path) -> None:
    first = read(tmp_path, words=["slots"]).rows[0]
    assert first["tokens"] == "play 好 song"
    assert first["slots"] == ["O", "B-what", "I-what"]


@pytest.mark.parametrize(("name", "lines"), [("label", 4), ("seq.in", 4)])
def test_a_file_with_fewer_lines_is_named(name: str, lines: int, tmp_path: Path) -> None:
    longer = {each: text + "more\n" for each, text in FILES.items()}
    with pytest.raises(
        DataError, match=rf"{name}: ends after line {lines}, .*expected as many lines"
    ):
        read(tmp_path, {**longer, name: FILES[name]})


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no lines found"):
        read(tmp_path, dict.fromkeys(FILES, ""))
    with pytest.raises(DataError, match=r"label2: no such file\. Did you mean .*label"):
        read(tmp_path, path={**COLUMNS, "intent": "label2"})
    with pytest.raises(RecipeError, match="words: no file is given for column 'slot'"):
        read(tmp_path, words=["slot"])
    with pytest.raises(RecipeError, match="expected train"):
        read(tmp_path, path={})
