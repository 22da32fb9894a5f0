"""Files that are not UTF-8: read as they say, and recognised when they say nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from polytask.core.errors import DataError
from polytask.data.sources import sources
from polytask.data.sources.files import FileSource
from polytask.data.sources.text_files import TextFileSource
from polytask.data.tables import Table

TEXTS = {
    "gb18030": "这部电影很好看，我非常喜欢。",
    "big5": "這部電影很好看，我非常喜歡。",
    "shift_jis": "この映画はとても面白かったです。",
    "euc_jp": "この映画はとても面白かったです。",
    "euc_kr": "이 영화는 정말 재미있었어요.",
    "cp1251": "Очень хороший фильм, рекомендую!",
    "cp1252": "Très bon café, été à Köln, “naïve”",
    "utf-16": "这部电影很好看 naïve",
    "utf-16-le": "这部电影很好看 naïve",
    "utf-16-be": "这部电影很好看 naïve",
    "utf-32": "这部电影很好看 naïve",
    "utf-8-sig": "这部电影很好看 naïve",
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYTASK_CACHE", str(tmp_path / "cache"))


def read(folder: Path, content: bytes, **options: Any) -> Table:
    (folder / "file").write_bytes(content)
    return sources.build({"path": "file", **options}, (folder,)).load()["all"]


@pytest.mark.parametrize("encoding", TEXTS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_texts_are_read_in_their_encoding_with_their_lines(
    encoding: str, end: str, tmp_path: Path
) -> None:
    content = f"text\tlabel{end}{TEXTS[encoding]}\tx{end}\u3000\ty{end}"
    stored = content.encode(encoding, "replace")
    table = read(tmp_path, stored, kind="tsv", encoding=encoding)
    assert next(table.column("text")) == TEXTS[encoding]
    assert table.where(1) == f"{tmp_path / 'file'}:3"


@pytest.mark.parametrize("encoding", [name for name in TEXTS if name != "utf-8-sig"])
def test_a_file_in_another_encoding_is_recognised(encoding: str, tmp_path: Path) -> None:
    content = f"text,label\n{TEXTS[encoding].replace(',', ' ')},x\n".encode(encoding)
    with pytest.raises(DataError) as caught:
        read(tmp_path, content, kind="csv")
    assert str(caught.value).endswith(f"write: encoding: {encoding}.")
    assert TEXTS[encoding][:10] in str(caught.value)
    told = read(tmp_path, content, kind="csv", encoding=encoding)
    assert next(told.column("label")) == "x"


@pytest.mark.parametrize(
    ("encoding", "content", "message"),
    [
        (
            "utf-8",
            "très bon\n".encode() * 9 + b"caf\xe9\n",
            "file:10: not UTF-8.* Save the file as",
        ),
        ("utf-16", "a\nb\n".encode("utf-16") + b"c", "file:3: not UTF-16"),
        ("utf-16", "éab\nc\n".encode(), "not UTF-16 .* write: encoding: utf-8"),
        ("gb18030", b"a\n\xff\n", "file:2: not GB18030"),
        ("utf-8", b"a\nb\0c\n", "file:2: a NUL character found"),
    ],
)
def test_broken_lines_are_named(
    encoding: str, content: bytes, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, content, kind="text", encoding=encoding)


@pytest.mark.parametrize("name", ["utf-88", "base64", ""])
def test_unknown_encodings_are_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="expected the name of a text encoding"):
        sources.schema("csv").model_validate({"kind": "csv", "path": "x", "encoding": name})


def test_every_format_of_text_has_an_encoding() -> None:
    kinds = [kind for kind in sources.kinds() if issubclass(sources.part(kind), FileSource)]
    texts = {kind for kind in kinds if issubclass(sources.part(kind), TextFileSource)}
    assert {*kinds} - texts == {"parquet"}
    for kind in (*texts, "parallel"):
        assert "encoding" in sources.schema(kind).model_fields


def test_files_of_lines_that_belong_together_have_an_encoding(tmp_path: Path) -> None:
    for name, text in (("zh", "好"), ("en", "good")):
        (tmp_path / name).write_text(text, encoding="utf-16")
    options = {"kind": "parallel", "path": {"zh": "zh", "en": "en"}, "encoding": "utf-16"}
    table = sources.build(options, (tmp_path,)).load()["all"]
    assert [*table.column("zh"), *table.column("en")] == ["好", "good"]
