"""Changed copies of rows: which text they have, and where its words come from."""

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
    """One changed copy of every row: a pure function of its fields."""

    @abstractmethod
    def fields(self, fields: Fields) -> Fields:
        """The fields of the copy; equal to those of the row if nothing came out changed."""

    @abstractmethod
    def alignment(self, fields: Fields) -> Alignment:
        """Where the words of the first list of words come from; of none if there is no list.

        :param fields: As they were.
        """


@final
@dataclass(frozen=True)
class WordCopying(Copying):
    """Changes words. A text is cut at white space; what is neither text nor words stays.

    :param seed: Decides the changes, with the number and the words of the field.
    :param number: Which copy it is.
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
        content = zlib.crc32("\n".join(words).encode("utf-8", "surrogatepass"))
        random = np.random.default_rng([self.seed, self.number, at, content])
        return self.augmentation.change(words, random)


@final
@dataclass(frozen=True)
class TextCopying(Copying):
    """Puts other texts in the places of texts; lists of words stay as they are.

    :param instead: For each text, another one.
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


def word_copyings(augmentations: Sequence[Augmentation], seed: int) -> Iterator[WordCopying]:
    """All copies with changed words that some augmentations make of each row."""
    rounds = [a for a in augmentations if isinstance(a, WordAugmentation) for _ in range(a.copies)]
    for number, augmentation in enumerate(rounds):
        yield WordCopying(augmentation, seed, number)


def _is_words(field: Any) -> bool:
    return isinstance(field, list) and all(isinstance(word, str) for word in field)
