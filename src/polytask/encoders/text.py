"""Fields as texts or as words.

A field is a text, or a list of words if it was segmented before.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from polytask.core.batch import Fields
from polytask.core.errors import DataError

# Scripts without spaces between words: Han with its extensions, Hiragana, Katakana.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_PLANES = 0x20000  # the planes that hold combining marks of scripts
_SHOWN = 60


def words_of(field: object) -> list[str]:
    """Return the words of a field; a text is split by rule.

    :raises DataError: If the field is neither a text nor a list of words.
    """
    if isinstance(field, str):
        return _pattern().findall(field)
    return _words(field)


def text_of(field: object) -> str:
    """Return the text of a field; words are joined by spaces.

    :raises DataError: If the field is neither a text nor a list of words.
    """
    return field if isinstance(field, str) else " ".join(_words(field))


def n_grams(units: Sequence[str], sizes: Iterable[int], joint: str) -> Iterator[str]:
    """Yield the n-grams of words or characters, by size and then by position.

    :param sizes: The numbers of units that an n-gram may have.
    :param joint: The text between two units.
    """
    for size in sizes:
        yield from map(joint.join, zip(*(units[start:] for start in range(size)), strict=False))


def find_segmented_field(fields: Fields) -> int | None:
    """Return the position of the first list of words, which word-level tasks label, or None."""
    return next((at for at, field in enumerate(fields) if not isinstance(field, str)), None)


def longest_first(lengths: Sequence[int], budget: int) -> list[int]:
    """Return how many items of each sequence fit into a common budget; the longest are cut first."""
    kept = [0] * len(lengths)
    for done, at in enumerate(sorted(range(len(lengths)), key=lengths.__getitem__)):
        kept[at] = min(lengths[at], budget // (len(lengths) - done))
        budget -= kept[at]
    return kept


def find(path: str, search: Sequence[Path]) -> Path | None:
    """Return the first match of a path in some folders, by default the working folder, or None."""
    places = [folder / path for folder in search or (Path(),)]
    return next((place for place in places if place.exists()), None)


def _words(field: object) -> list[str]:
    if isinstance(field, list) and all(isinstance(word, str) for word in field):
        return field
    shown = "no value (null)" if field is None else repr(field)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
    raise DataError(
        f"found {shown}, expected a text or a list of words. "
        "Name the column of the text in the task's input."
    )


@functools.cache
def _pattern() -> re.Pattern[str]:
    """Return the pattern of a word: a run of letters and digits, or one other character."""
    # Letters of unspaced scripts are words. ``\w`` leaves out combining marks, without which words of
    # Arabic, Hindi or Thai would be split. The look-ahead spares Latin text the larger set.
    mark = "".join(c for c in map(chr, range(_PLANES)) if unicodedata.category(c) in ("Mn", "Mc"))
    letter = rf"[^\W{_UNSPACED}]"
    return re.compile(rf"{letter}+(?:(?=[^\x00-\u02ff])[{mark}]{letter}*)*|\S")
