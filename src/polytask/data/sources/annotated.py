"""Sources whose files can be written back with predictions in place of annotations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from polytask.core.batch import Row
from polytask.data.sources.text_files import TextFileSource


class AnnotatedSource(TextFileSource, ABC):
    """A source of annotated texts: a row holds all that its file says of it."""

    annotations: ClassVar[frozenset[str]]
    """The columns that can be replaced."""

    @abstractmethod
    def annotate(self, row: Row, columns: Mapping[str, Sequence[Any]]) -> str:
        """Return a row as its file has it, with some columns replaced.

        :param columns: Column to one value for each word.
        """
