"""Changed copies of rows: which text they have, and where its words come from."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polytask.core.alignment import Alignment
from polytask.core.batch import Fields
from polytask.data.augmentation.base import Augmentation, Word, WordAugmentation


@dataclass(frozen=True)
class Copying:
    """One changed copy of every row: a pure function of its fields.

    Fields that are neither texts nor lists of words stay as they are. A text is cut at white space.

    :param seed: Decides the changes, with the number and the words of the field.
    :param number: Which copy it is.
    """

    augmentation: WordAugmentation
    seed: int
    number: int

    def fields(self, fields: Fields) -> Fields:
        """The fields of the copy; equal to those of the row if nothing came out changed."""
        return tuple(self._field(at, field) for at, field in enumerate(fields))

    def alignment(self, fields: Fields) -> Alignment:
        """Where the words of the first list of words come from; of none if there is no list.

        :param fields: As they were.
        """
        for at, field in enumerate(fields):
            if _is_words(field):
                words = self._changed(at, field)
                same = tuple(word == field[origin] for word, origin in words)
                return Alignment(tuple(origin for _, origin in words), same)
        return Alignment()

    def _field(self, at: int, field: Any) -> Any:
        if _is_words(field):
            return [word for word, _ in self._changed(at, field)]
        if isinstance(field, str):
            words = field.split()
            changed = [word for word, _ in self._changed(at, words)]
            return field if changed == words else " ".join(changed)
        return field

    def _changed(self, at: int, words: Sequence[str]) -> list[Word]:
        if not words:
            return []
        content = zlib.crc32("\n".join(words).encode("utf-8", "surrogatepass"))
        random = np.random.default_rng([self.seed, self.number, at, content])
        return self.augmentation.changed(words, random)


def copyings(augmentations: Sequence[Augmentation], seed: int) -> Iterator[Copying]:
    """All copies that some augmentations make of each row."""
    rounds = [a for a in augmentations if isinstance(a, WordAugmentation) for _ in range(a.copies)]
    for number, augmentation in enumerate(rounds):
        yield Copying(augmentation, seed, number)


def _is_words(field: Any) -> bool:
    return isinstance(field, list) and all(isinstance(word, str) for word in field)
