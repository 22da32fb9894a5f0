"""Generated rows: for a first run, for examples, and for experiments about tasks."""

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
from polytask.data.synthesis.rows import damage_labels, generate_reviews
from polytask.data.tables import Origin, Table, add_location

Share = Annotated[float, Field(ge=0, le=1)]


class GeneratedSource(Source):
    """Base of sources that generate their rows. Equal options give equal rows on any machine.

    A split does not depend on the sizes of the others, except that no text is in two splits.

    :param search: Folders in which relative paths are looked up; not used here.
    :param size: Number of training rows.
    :param validation: Number of validation rows.
    :param test: Number of test rows.
    :param seed: Seed of the rows.
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
        """Yield an unlimited number of rows, each with a ``text``."""

    @abstractmethod
    def train_rows(
        self, rows: Iterable[dict[str, Any]], rng: random.Random
    ) -> Iterable[dict[str, Any]]:
        """Return the rows to train on, such as rows with wrong labels."""

    @override
    def load(self) -> dict[str, Table]:
        # Test comes first in ``_sizes``: more training rows then change neither of the other splits.
        seen: set[bytes] = set()
        tables = {split: self._table(split, seen) for split in self._sizes}
        return {split: tables[split] for split in (TRAIN, VALIDATION, TEST)}

    def _table(self, split: str, seen: set[bytes]) -> Table:
        """Return the rows of a split, without texts that other splits have."""
        texts, labels = (random.Random(f"{self._seed}/{split}/{use}") for use in ("text", "label"))
        rows: Iterable[dict[str, Any]] = islice(
            _skip_seen(self.rows(texts), seen), self._sizes[split]
        )
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

    Columns: ``text``; ``tokens``, its words; ``language``; ``sentiment`` of the product, positive or
    negative; ``topic``, the kind of product; ``stars``, 1.0 to 5.0, the rating of the whole order;
    ``aspects``, BIO tags of the tokens for quality, look and price of the product, delivery and
    service; ``id``.

    Word counts are not enough to predict the labels. Opinions are negated at a distance ("nobody can
    say that") or conceded and then overruled ("although", "then again"). They depend on their
    subject (a long battery life, a long wait), and other products are judged on the side.

    :param search: Folders in which relative paths are looked up; not used here.
    :param languages: Languages of the reviews, in equal parts.
    :param relatedness: Strength of the relation between the tasks. 1: the shop is judged like the
        product, stars follow the sentiment, and products are judged by aspects that only their topic
        has. 0: the shop is judged independently, stars follow the shop alone, and aspects are
        independent of the topic.
    :param label_noise: Share of training labels that are wrong, drawn independently for every task.
    :param missing: Share of training labels that are missing, drawn independently for every task.
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
        return generate_reviews(rng, self._languages, self._relatedness)

    @override
    def train_rows(
        self, rows: Iterable[dict[str, Any]], rng: random.Random
    ) -> Iterable[dict[str, Any]]:
        return damage_labels(rows, rng, self._label_noise, self._missing)


def _skip_seen(rows: Iterable[dict[str, Any]], seen: set[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the rows whose text is not in ``seen``, and add their texts to it."""
    for row in rows:
        digest = hashlib.blake2b(row["text"].encode(), digest_size=8).digest()
        if digest not in seen:
            seen.add(digest)
            yield row
