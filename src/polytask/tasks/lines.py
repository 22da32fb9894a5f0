"""Lines of files for other programs: whatever a text holds, it stays within its line and column."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable


def one_line(text: str) -> str:
    r"""Return a text with its line breaks escaped, a line feed as ``\n``.

    All that ``str.splitlines`` takes for a line break is escaped, since readers differ.
    """
    return "".join(_escape(piece) for piece in text.splitlines(keepends=True))


def one_space(text: str) -> str:
    """Return a text with each stretch of white space as one space, and none at its ends."""
    return " ".join(text.split())


def column_text(text: str) -> str:
    """Return a text for a format whose columns are separated by white space; ``_`` if it is empty."""
    return "_".join(text.split()) or "_"


def csv_line(cells: Iterable[str], delimiter: str = ",") -> str:
    """Return texts as one line of CSV, without its end.

    https://www.rfc-editor.org/rfc/rfc4180
    """
    line = io.StringIO()
    csv.writer(line, delimiter=delimiter, lineterminator="").writerow(map(one_line, cells))
    return line.getvalue()


def _escape(piece: str) -> str:
    """Return a line with the break at its end escaped."""
    text = piece.splitlines()[0]
    return text + piece[len(text) :].encode("unicode_escape").decode()
