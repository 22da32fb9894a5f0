"""Changed copies of rows: their fields, and the alignment of their words with the row's words."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from typing_extensions import override

from polytask.core.alignment import Alignment
from polytask.core.batch import Fields
from polytask.data.augmentation.base import Augmentation, Word, WordAugmentation


class Copying(ABC):
    """Makes one changed copy of each row, as a pure function of its fields."""

    @abstractmethod
    def fields(self, fields: Fields) -> Fields:
        """Return the fields of the copy; equal to the row's fields if nothing has changed."""

    @abstractmethod
    def alignment(self, fields: Fields) -> Alignment:
        """Return the alignment of the first list of words; empty if no field is a list of words.

        :param fields: The fields of the row, unchanged.
        """


@final
@dataclass(frozen=True)
class WordCopying(Copying):
    """Changes words. A text is split at white space; other fields stay.

    :param seed: Seed of the changes, with the number of the copy and the words of the field.
    :param number: Number of the copy.
    """

    augmentation: WordAugmentation
    seed: int
    number: int

    @override
    def fields(self, fields: Fields) -> Fields:
        return tuple(self._field(at, field) for at, field in enumerate(fields))

    @override
    def alignment(self, fields: Fields) -> Alignment:
        for at, field in enumerate(fields):
            if _is_words(field):
                words = self._change(at, field)
                same = tuple(word == field[origin] for word, origin in words)
                return Alignment(tuple(origin for _, origin in words), same)
        return Alignment()

    def _field(self, at: int, field: Any) -> Any:
        if _is_words(field):
            return [word for word, _ in self._change(at, field)]
        if isinstance(field, str):
            words = field.split()
            changed = [word for word, _ in self._change(at, words)]
            return field if changed == words else " ".join(changed)
        return field

    def _change(self, at: int, words: Sequence[str]) -> list[Word]:
        if not words:
            return []
        # Seeded by the content: ``fields`` and ``alignment`` must draw the same changes, in any order,
        # and Python's own hash of a text differs between processes.
        content = zlib.crc32("\n".join(words).encode("utf-8", "surrogatepass"))
        random = np.random.default_rng([self.seed, self.number, at, content])
        return self.augmentation.change(words, random)


@final
@dataclass(frozen=True)
class TextCopying(Copying):
    """Replaces texts; lists of words stay as they are.

    :param instead: The replacement of each text.
    """

    instead: Mapping[str, str]

    @override
    def fields(self, fields: Fields) -> Fields:
        return tuple(
            self.instead.get(field, field) if isinstance(field, str) else field for field in fields
        )

    @override
    def alignment(self, fields: Fields) -> Alignment:
        words = next(filter(_is_words, fields), ())
        return Alignment(tuple(range(len(words))), (True,) * len(words))


def list_word_copyings(augmentations: Sequence[Augmentation], seed: int) -> Iterator[WordCopying]:
    """Yield every copy with changed words that the augmentations make of a row."""
    rounds = [a for a in augmentations if isinstance(a, WordAugmentation) for _ in range(a.copies)]
    for number, augmentation in enumerate(rounds):
        yield WordCopying(augmentation, seed, number)


def _is_words(field: Any) -> bool:
    return isinstance(field, list) and all(isinstance(word, str) for word in field)
