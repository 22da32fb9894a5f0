"""Tables as text: files that are separated by something else than was said."""

from __future__ import annotations

from pathlib import Path

import pytest

from polytask.core.errors import DataError
from polytask.data.sources import sources


@pytest.mark.parametrize(("kind", "delimiter"), [("csv", ";"), ("csv", "\t"), ("tsv", ",")])
def test_another_delimiter_is_recognised(kind: str, delimiter: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_text(f"text{delimiter}label\ngood{delimiter}1\n")
    with pytest.raises(DataError, match="a single one") as caught:
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
