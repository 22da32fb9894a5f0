"""Plain text files, for tasks that need no labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

from typing_extensions import override

from polytask.core.batch import Row
from polytask.data.sources.base import sources
from polytask.data.sources.sentences import blocks
from polytask.data.sources.text_files import TextFileSource


@sources.register("text")
class PlainText(TextFileSource):
    """Plain text files; the column is ``text``. Blank lines are no rows.

    :param row: Unit of a row: a ``line``, or a ``paragraph`` of all lines between blank lines.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".txt", ".text")

    def __init__(
        self,
        search: tuple[Path, ...],
        /,
        *,
        row: Literal["line", "paragraph"] = "line",
        **options: Any,
    ) -> None:
        super().__init__(search, **options)
        self.row = row

    @override
    def read(self, path: Path) -> Iterator[tuple[int, Row]]:
        for block in blocks(self.lines(path)):
            if self.row == "line":
                yield from ((number, {"text": line}) for number, line in block)
            else:
                yield block[0][0], {"text": "\n".join(line for _, line in block)}
