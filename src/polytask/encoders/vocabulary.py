"""Words and their ids."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterable

PADDING, UNKNOWN, SEPARATOR = range(3)
_FIRST = 3


class Vocabulary:
    """The known words and their ids; all other words have the id ``UNKNOWN``.

    :param words: The known words in the order of their ids.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self._ids = {word: at for at, word in enumerate(words, start=_FIRST)}

    def __len__(self) -> int:
        """Return the number of ids, special ids included."""
        return _FIRST + len(self._ids)

    @property
    def words(self) -> list[str]:
        """The words in the order of their ids."""
        return list(self._ids)

    def ids(self, words: Iterable[str]) -> list[int]:
        """Return the id of each word."""
        return list(map(self._ids.get, words, itertools.repeat(UNKNOWN)))


def frequent(
    counts: Counter[str], *, most: int, at_least: int, known: Collection[str] = ()
) -> Vocabulary:
    """Return the most frequent words; among equals, words that were seen first.

    :param most: Most words.
    :param at_least: Fewest occurrences of a word.
    :param known: Words that need to occur only once.
    """
    ranked = (word for word, count in counts.most_common() if count >= at_least or word in known)
    return Vocabulary(itertools.islice(ranked, most))
