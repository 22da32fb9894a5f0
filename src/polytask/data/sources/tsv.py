"""Tab-separated values.

https://www.iana.org/assignments/media-types/text/tab-separated-values
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from polytask.data.sources.base import sources
from polytask.data.sources.delimited import Delimited


@sources.register("tsv")
class Tsv(Delimited):
    """TSV files: the first line names the columns, a quote is a character like any other.

    :param quotes: Whether cells may be wrapped in double quotes, as spreadsheets write them.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".tsv", ".tab")

    def __init__(
        self, search: tuple[Path, ...], /, *, quotes: bool = False, **options: Any
    ) -> None:
        super().__init__(search, "\t", quotes, **options)
