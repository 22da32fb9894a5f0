"""The interface of a text step: a pure function of one field."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from polytask.core.registry import Registry

Text = str | list[str]
"""A text, or the list of its words once it has been segmented."""


class TextStep(ABC):
    """Turns a text into a text or into words. Applied to every text field before the encoder.

    :param search: Folders in which relative paths are looked up, first match wins.
    """

    keeps_words: ClassVar[bool] = True
    """True if a list of words keeps its length, as word-level tasks need."""

    def __init__(self, search: tuple[Path, ...] = (), /) -> None:
        self.search = search

    @abstractmethod
    def __call__(self, text: Text) -> Text:
        """Return the field after the step; a list of words is processed word by word."""


text_steps: Registry[TextStep] = Registry("text step", TextStep)
