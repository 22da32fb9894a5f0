"""Words and their ids."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterable

PADDING, UNKNOWN, SEPARATOR = range(3)
_FIRST = 3


class Vocabulary:
    """The words that have an id of their own; all others share ``UNKNOWN``.

    :param words: In the order of their ids.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self._ids = {word: at for at, word in enumerate(words, start=_FIRST)}

    def __len__(self) -> int:
        """How many ids there are, those without a word included."""
        return _FIRST + len(self._ids)

    @property
    def words(self) -> list[str]:
        """The words in the order of their ids."""
        return list(self._ids)

    def ids(self, words: Iterable[str]) -> list[int]:
        """The id of each word."""
        return list(map(self._ids.get, words, itertools.repeat(UNKNOWN)))


def frequent(
    counts: Counter[str], *, most: int, at_least: int, known: Collection[str] = ()
) -> Vocabulary:
    """The most frequent words, the first seen first among equals.

    :param most: At most so many words.
    :param at_least: How often a word must occur.
    :param known: Words that need to occur only once.
    """
    ranked = (word for word, count in counts.most_common() if count >= at_least or word in known)
    return Vocabulary(itertools.islice(ranked, most))
