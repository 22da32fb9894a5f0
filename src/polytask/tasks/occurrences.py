"""Occurrences of an answer or a phrase in a text: exact, or except for case and Unicode form."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

Place: TypeAlias = tuple[int, int]
"""The start and the end of a part of a text, in characters."""

# Scripts without spaces between words, by the start of the Unicode names of their letters.
_UNSPACED = (
    *("CJK", "IDEOGRAPHIC", "HIRAGANA", "KATAKANA", "HALFWIDTH KATAKANA"),
    *("THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN"),
)


_SHOWN = 60  # characters of a text in a message


class Folded(NamedTuple):
    """A text without differences of case, width and Unicode form, and without format characters.

    :param text: Casefolded characters, decomposed by compatibility (NFKD).
    :param places: For each of them, the place of the original character, with its marks.
    """

    text: str
    places: list[Place]


def exact_places(part: str, text: str) -> Iterator[Place]:
    """Return the places of a part of a text, first to last; they may overlap."""
    at = text.find(part)
    while at >= 0:
        yield at, at + len(part)
        at = text.find(part, at + 1)


def fold_with_places(part: Folded, text: Folded) -> Iterator[Place]:
    """Return the places of whole characters of a text that are equal to a part when folded."""
    for at, stop in exact_places(part.text, text.text) if part.text else ():
        first, last = text.places[at], text.places[stop - 1]
        # A character may fold to several ("ß" to "ss"): a match must not begin or end inside one.
        starts = at == 0 or text.places[at - 1] != first
        ends = stop == len(text.places) or text.places[stop] != last
        if starts and ends:
            yield first[0], last[1]


def fold(text: str, space: str = "") -> Folded:
    """Fold a text.

    :param space: Replaces each run of white space.
    """
    signs: list[str] = []
    places: list[Place] = []
    for start, stop in _characters(text):
        plain = _plain(text[start:stop]) or (space if text[start].isspace() else "")
        signs.append(plain)
        places += [(start, stop)] * len(plain)
    return Folded("".join(signs), places)


def nearest(places: Iterator[Place], start: int) -> Place | None:
    """Return the place nearest to a start, the earlier one of two; None if there are none."""
    return min(places, key=lambda place: (abs(place[0] - start), place[0]), default=None)


def first_whole(places: Iterator[Place], text: str) -> Place | None:
    """Return the first place that cuts no word, else the first one; None if there are none."""
    return min(
        places, key=lambda place: (any(inside_word(text, at) for at in place), place), default=None
    )


def inside_word(text: str, at: int) -> bool:
    """Return whether the characters around a position belong to one word.

    A mark belongs to the character before it. Letters of scripts without spaces are words.
    """
    if not 0 < at < len(text):
        return False
    before = at - 1
    while before > 0 and is_mark(text[before]):
        before -= 1
    if is_mark(text[at]):
        return not text[before].isspace()
    return is_word_letter(text[before]) and is_word_letter(text[at])


def whole_characters(text: str, start: int, end: int) -> Place:
    """Extend a part of a text by the marks that belong to its first and last characters."""
    while 0 < start < end and is_mark(text[start]):
        start -= 1
    while start < end < len(text) and is_mark(text[end]):
        end += 1
    return start, end


def is_mark(sign: str) -> bool:
    """Return whether a character combines with the one before it: an accent, a vowel sign."""
    return unicodedata.category(sign).startswith("M")


@lru_cache(maxsize=4096)
def is_word_letter(sign: str) -> bool:
    """Return whether a character and such neighbours are one word, as Latin letters are."""
    word = sign == "_" or sign.isalnum()
    return word and not unicodedata.name(sign, "").startswith(_UNSPACED)


def shorten(text: str) -> str:
    """Return a text in quotes, for messages."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


def _characters(text: str) -> Iterator[Place]:
    """Return the places of characters with their combining marks, and of runs of white space."""
    start = 0
    for at in range(1, len(text) + 1):
        if at == len(text) or not (
            unicodedata.combining(text[at]) or (text[at].isspace() and text[at - 1].isspace())
        ):
            yield start, at
            start = at


@lru_cache(maxsize=4096)
def _plain(part: str) -> str:
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", part).casefold())
    return "".join(
        sign
        for sign in decomposed
        if not sign.isspace() and unicodedata.category(sign) not in ("Cf", "Cc")
    )


def quote(text: str, start: int, end: int) -> dict[str, Any]:
    """Return a part of a text as ``text`` and ``start``: whole characters, without space around."""
    start, end = whole_characters(text, start, end)
    part = text[start:end]
    return {"text": part.strip(), "start": start + len(part) - len(part.lstrip())}
