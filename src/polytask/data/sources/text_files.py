"""The base of sources that read text files: encodings, lines and line numbers."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator

from polytask.core.errors import DataError
from polytask.data.sources.encodings import suggest_encoding
from polytask.data.sources.files import FileSource, open_bytes

_BOM = "\ufeff"


def _check_encoding(encoding: str) -> str:
    try:
        "".encode(encoding)
    except (LookupError, UnicodeError, ValueError) as error:
        example = "expected the name of a text encoding, such as utf-8, utf-16, gb18030 or cp1252"
        raise ValueError(f"{example}; found {encoding!r}") from error
    return encoding


Encoding = Annotated[str, AfterValidator(_check_encoding)]
"""A text encoding that Python knows."""


class TextFileSource(FileSource):
    """Rows in text files. A format implements ``read`` alone, by means of ``lines`` or ``text``.

    :param encoding: How characters are stored: ``utf-8``, ``utf-16``, ``gb18030``, ``cp1252``, ...
    """

    def __init__(
        self, search: tuple[Path, ...], /, *, encoding: Encoding = "utf-8", **options: Any
    ) -> None:
        super().__init__(search, **options)
        self.encoding = encoding

    def lines(self, path: Path) -> Iterator[tuple[int, str]]:
        """Yield the lines of a file; see ``read_lines``."""
        return read_lines(path, self.encoding)

    def text(self, path: Path) -> str:
        """Return the text of a file.

        :raises DataError: If a line cannot be decoded; names the line.
        """
        return "".join(line for _, line in self.lines(path))


def read_lines(path: Path, encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    r"""Yield the lines of a file with their numbers, from 1; only ``\n`` ends a line.

    Texts may contain other characters that Python treats as line ends, such as U+2028.

    :raises DataError: If a line cannot be decoded, or contains a NUL; names the line.
    """
    for number, line in _decode_lines(path, encoding):
        if "\0" in line:
            found = f"{path}:{number}: a NUL character found; expected text as {encoding}"
            raise DataError(f"{found}.{_advice(path, encoding)}")
        yield number, line.removeprefix(_BOM) if number == 1 else line


def _decode_lines(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    if "\n".encode(encoding) != b"\n":
        yield from _decode_whole(path, encoding)
        return
    with open_bytes(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                yield number, line.decode(encoding)
            except UnicodeDecodeError as error:
                raise _encoding_error(f"{path}:{number}", path, encoding, error) from error


def _decode_whole(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file in an encoding where a line end is not one byte, such as UTF-16."""
    with open_bytes(path) as file:
        content = file.read()
    try:
        text = content.decode(encoding)
    except UnicodeError as error:
        start = error.start if isinstance(error, UnicodeDecodeError) else 0
        line = content[:start].decode(encoding, "ignore").count("\n") + 1
        raise _encoding_error(f"{path}:{line}", path, encoding, error) from error
    yield from enumerate(io.StringIO(text, newline="\n"), start=1)


def _encoding_error(place: str, path: Path, encoding: str, error: UnicodeError) -> DataError:
    reason = (
        f"{error.reason} at byte {error.start}" if isinstance(error, UnicodeDecodeError) else error
    )
    return DataError(f"{place}: not {encoding.upper()} text ({reason}).{_advice(path, encoding)}")


def _advice(path: Path, encoding: str) -> str:
    with open_bytes(path) as file:
        return suggest_encoding(file.read(1 << 20), encoding)
