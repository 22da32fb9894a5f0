"""Rows that need no download: for a first run, for examples, for experiments about tasks."""

from __future__ import annotations

import hashlib
import random
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt
from typing_extensions import override

from polytask.data.sources.base import TEST, TRAIN, VALIDATION, Source, sources
from polytask.data.stored_tables import spool_table
from polytask.data.synthesis.rows import damage_labels, review_rows
from polytask.data.tables import Origin, Table, add_location

Share = Annotated[float, Field(ge=0, le=1)]


class GeneratedSource(Source):
    """Base of sources that make their rows. The same options give the same rows anywhere.

    A split does not change when another one grows, except that no text is in two of them.

    :param search: Folders in which relative paths are looked up; there are none here.
    :param size: Number of training rows.
    :param validation: Number of validation rows.
    :param test: Number of test rows.
    :param seed: Other seeds make other rows.
    """

    def __init__(
        self,
        search: tuple[Path, ...],
        /,
        *,
        size: PositiveInt = 3000,
        validation: PositiveInt = 800,
        test: PositiveInt = 1500,
        seed: int = 0,
    ) -> None:
        super().__init__(search)
        self._sizes = {TEST: test, VALIDATION: validation, TRAIN: size}
        self._seed = seed

    @abstractmethod
    def rows(self, rng: random.Random) -> Iterator[dict[str, Any]]:
        """Rows without end, each with a ``text``."""

    @abstractmethod
    def train_rows(
        self, rows: Iterable[dict[str, Any]], rng: random.Random
    ) -> Iterable[dict[str, Any]]:
        """What becomes of rows before they are trained on."""

    @override
    def load(self) -> dict[str, Table]:
        seen: set[bytes] = set()
        tables = {split: self._table(split, seen) for split in self._sizes}
        return {split: tables[split] for split in (TRAIN, VALIDATION, TEST)}

    def _table(self, split: str, seen: set[bytes]) -> Table:
        """The rows of one split, none of whose texts has been seen."""
        texts, labels = (random.Random(f"{self._seed}/{split}/{use}") for use in ("text", "label"))
        rows: Iterable[dict[str, Any]] = islice(_new(self.rows(texts), seen), self._sizes[split])
        if split == TRAIN:
            rows = self.train_rows(rows, labels)
        numbered = (
            add_location({"id": f"{split}-{number}", **row}, 0, number)
            for number, row in enumerate(rows)
        )
        return spool_table(numbered, Origin((f"synthetic {split} rows",), "{file}[{line}]"))


@sources.register("synthetic")
class Synthetic(GeneratedSource):
    """Shop reviews in Chinese and English, labelled for sentiment, topic, stars and aspects.

    Columns: ``text``; ``tokens``, its words; ``language``; ``sentiment``, positive or negative:
    what is thought of the product, all in all; ``topic``, which product that is; ``stars``, 1.0 to
    5.0, the rating of the whole order; ``aspects``, BIO tags of the tokens: what is said about
    the quality, look and price of this product and about delivery and service; ``id``.

    Counting words does not get far: opinions are negated at a distance ("nobody can say that"),
    granted before they are overruled ("although", "then again"), depend on what they are about (a
    long battery life, a long wait), and other products are mentioned and judged on the side.

    :param search: Folders in which relative paths are looked up; there are none here.
    :param languages: Languages of the reviews, in equal parts.
    :param relatedness: How much the tasks have to do with each other. 1: the shop is judged like
        the product, stars follow the sentiment, and products are judged by aspects that only such
        products have. 0: the shop is judged on its own, stars follow the shop alone, and aspects
        tell nothing about the topic.
    :param label_noise: Share of training labels that are wrong, drawn for every task on its own.
    :param missing: Share of training labels that are missing, drawn for every task on its own.
    """

    def __init__(
        self,
        search: tuple[Path, ...],
        /,
        *,
        languages: Annotated[tuple[Literal["zh", "en"], ...], Field(min_length=1)] = ("zh", "en"),
        relatedness: Share = 0.6,
        label_noise: Share = 0.0,
        missing: Share = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(search, **options)
        self._languages = languages
        self._relatedness = relatedness
        self._label_noise = label_noise
        self._missing = missing

    @override
    def rows(self, rng: random.Random) -> Iterator[dict[str, Any]]:
        return review_rows(rng, self._languages, self._relatedness)

    @override
    def train_rows(
        self, rows: Iterable[dict[str, Any]], rng: random.Random
    ) -> Iterable[dict[str, Any]]:
        return damage_labels(rows, rng, self._label_noise, self._missing)


def _new(rows: Iterable[dict[str, Any]], seen: set[bytes]) -> Iterator[dict[str, Any]]:
    """The rows whose text is not among those seen, which it joins."""
    for row in rows:
        digest = hashlib.blake2b(row["text"].encode(), digest_size=8).digest()
        if digest not in seen:
            seen.add(digest)
            yield row
