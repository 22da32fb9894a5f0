"""The alignment of a changed text with its original, so that labels of words can follow them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Alignment:
    """The W words of a changed text, and the original words that they come from.

    :param origins_W: The place of each word in the original text, none twice.
    :param same_W: True for each word that did not change.
    """

    origins_W: tuple[int, ...] = ()
    same_W: tuple[bool, ...] = ()
