"""The interface of sources that can write their files with predicted annotations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from polytask.core.batch import Row
from polytask.data.sources.text_files import TextFileSource


class AnnotatedSource(TextFileSource, ABC):
    """A source of annotated texts whose rows hold all content of the file."""

    annotations: ClassVar[frozenset[str]]
    """The columns that predictions can replace."""

    @abstractmethod
    def annotate(self, row: Row, columns: Mapping[str, Sequence[Any]]) -> str:
        """Return a row in the format of its file, with some columns replaced.

        :param columns: For each column to replace, one value per word.
        """
