"""Where the words of a changed text come from, so that labels of words can follow them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Alignment:
    """W words of a changed text, and the words that they come from.

    :param origins_W: The place of each word in the text as it was, none twice.
    :param same_W: Whether it still is that word.
    """

    origins_W: tuple[int, ...] = ()
    same_W: tuple[bool, ...] = ()
