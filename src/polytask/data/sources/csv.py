"""Comma-separated values.

https://www.rfc-editor.org/rfc/rfc4180
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from polytask.data.sources.base import sources
from polytask.data.sources.delimited import Delimited


@sources.register("csv")
class Csv(Delimited):
    """CSV files: the first line names the columns, cells may be quoted.

    :param delimiter: The character between two cells.
    :param quotes: Whether cells may be wrapped in double quotes; otherwise a quote is a character.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".csv",)

    def __init__(
        self,
        search: tuple[Path, ...],
        /,
        *,
        delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ",",
        quotes: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(search, delimiter, quotes, **options)
