"""Replacement of words by synonyms or by neighbours among word vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, final

import numpy as np
from pydantic import PositiveInt
from typing_extensions import override

from polytask.core.errors import DataError, RecipeError
from polytask.core.vectors import Vectors, read_vectors
from polytask.data.augmentation.base import Share, Word, WordAugmentation, augmentations

Synonyms: TypeAlias = Callable[[str], Sequence[str]]
"""A function that returns the synonyms of a lower-case word; empty if there are none."""


@final
@augmentations.register("synonym")
class Synonym(WordAugmentation):
    """Copies texts with some words replaced by synonyms, or by neighbours among word vectors.

    Synonyms from a thesaurus file: Wei and Zou, "EDA", EMNLP 2019, section 2, which uses WordNet.
    https://aclanthology.org/D19-1670 Nearest neighbours among word vectors: Wang and Yang, "That's
    So Annoying!!!", EMNLP 2015. Neighbours occur in similar contexts: "bad" may be a neighbour of
    "good". Set ``least`` high, and do not use neighbours if such words decide the label.

    :param file: A thesaurus: each line holds words that may replace each other, between tabs.
    :param vectors: File of word vectors (text, .gz or .npz) for nearest neighbours.
    :param neighbours: Number of nearest neighbours to choose from.
    :param least: Smallest cosine similarity of a neighbour.
    :param share: Share of the words that are replaced, among words with synonyms; at least one.
    """

    def __init__(
        self,
        search: tuple[Path, ...] = (),
        /,
        *,
        file: str | None = None,
        vectors: str | None = None,
        neighbours: PositiveInt = 5,
        least: Share = 0.8,
        share: Share = 0.1,
        **options: Any,
    ) -> None:
        super().__init__(search, **options)
        self._share = share
        if (file is None) == (vectors is None):
            raise RecipeError(
                ["augment: synonym takes its words from a file or from vectors. Set one of them."]
            )
        if file is not None:
            self._synonyms = _read_thesaurus(_find_file(search, "file", file))
        else:
            path = _find_file(search, "vectors", str(vectors))
            self._synonyms = Neighbours(*read_vectors(path), neighbours, least)

    @override
    def change(self, words: Sequence[str], random: np.random.Generator) -> list[Word]:
        known = {at: found for at, word in enumerate(words) if (found := self._of(word))}
        count = min(len(known), max(1, round(self._share * len(words))))
        chosen = random.choice([*known], count, replace=False).tolist() if known else []
        instead = {at: known[at][int(random.integers(len(known[at])))] for at in chosen}
        return [(instead.get(at, word), at) for at, word in enumerate(words)]

    def _of(self, word: str) -> Sequence[str]:
        """Return the synonyms of a word, capitalised if the word is."""
        found = self._synonyms(word.lower())
        return [one.capitalize() for one in found] if word.istitle() else found


class Neighbours:
    """Nearest neighbours of words by cosine similarity.

    :param words: V words.
    :param vectors_VD: Their vectors.
    :param most: Largest number of neighbours.
    :param least: Smallest cosine similarity of a neighbour.
    """

    def __init__(self, words: Sequence[str], vectors_VD: Vectors, most: int, least: float) -> None:
        lengths_V1 = np.linalg.norm(vectors_VD, axis=1, keepdims=True)
        self._words, self._places = words, {word: at for at, word in enumerate(words)}
        self._directions_VD = vectors_VD / np.maximum(lengths_V1, 1e-12)
        self._most, self._least = most, least
        self._found: dict[str, list[str]] = {}

    def __call__(self, word: str) -> list[str]:
        """Return the neighbours of a word, nearest first; empty if the word has no vector."""
        if word not in self._found:
            self._found[word] = self._search(word) if word in self._places else []
        return self._found[word]

    def _search(self, word: str) -> list[str]:
        own = self._places[word]
        cosines_V = self._directions_VD @ self._directions_VD[own]
        cosines_V[own] = -1.0
        nearest = np.argsort(-cosines_V, kind="stable")[: self._most].tolist()
        return [self._words[at] for at in nearest if cosines_V[at] >= self._least]


def _read_thesaurus(path: Path) -> Synonyms:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise DataError(f"augment: synonym.file: {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"augment: synonym.file: {path}: not UTF-8 text ({error})") from error
    known = parse_thesaurus(lines)
    if not known:
        raise DataError(
            f"augment: synonym.file: {path}: no line holds two words. Put words that may replace "
            "each other in a line, separated by tabs."
        )
    return lambda word: known.get(word, ())


def parse_thesaurus(lines: Sequence[str]) -> Mapping[str, list[str]]:
    """Return for each lower-case word the other words of its lines."""
    known: dict[str, dict[str, None]] = {}
    for line in lines:
        group = [word.strip() for word in line.split("\t") if word.strip()]
        for word in group:
            others = [other for other in group if other.lower() != word.lower()]
            known.setdefault(word.lower(), {}).update(dict.fromkeys(others))
    return {word: [*others] for word, others in known.items() if others}


def _find_file(search: Sequence[Path], option: str, name: str) -> Path:
    """Return the path of a file that a recipe names.

    :raises RecipeError: If it is in none of the folders.
    """
    places = [folder / name for folder in search or (Path(),)]
    for place in places:
        if place.is_file():
            return place
    folders = ", ".join(str(place.parent) for place in places)
    raise RecipeError([f"augment: synonym.{option}: no file {name!r} in {folders}"])
