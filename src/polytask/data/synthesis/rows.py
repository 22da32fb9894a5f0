"""Rows of reviews: text, words and four labels; labels can be made wrong or removed."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from polytask.data.synthesis.grammar import Language, language
from polytask.data.synthesis.reviews import Opinions, Writer

SENTIMENT = {1: "positive", -1: "negative"}
STARS = (1.0, 2.0, 3.0, 4.0, 5.0)


def generate_reviews(
    rng: random.Random, languages: Sequence[str], relatedness: float
) -> Iterator[dict[str, Any]]:
    """Yield an unlimited number of reviews with their true labels.

    :param languages: Codes of the languages; each review is in one of them.
    :param relatedness: Strength of the relation between the labels of a review, 0 to 1.
    """
    while True:
        code = rng.choice(languages)
        spoken = language(code)
        opinions = Opinions.draw(rng, spoken.topics, relatedness)
        words, tags = zip(*Writer(rng, spoken, opinions).words(), strict=True)
        product = opinions.subjects["product"]
        yield {
            "text": spoken.text(words),
            "tokens": list(words),
            "language": code,
            "sentiment": SENTIMENT[product.sign],
            "topic": product.of,
            "stars": opinions.stars(rng),
            "aspects": list(tags),
        }


def damage_labels(
    rows: Iterable[dict[str, Any]], rng: random.Random, noise: float, missing: float
) -> Iterator[dict[str, Any]]:
    """Yield rows with some labels wrong and some missing, independently for every label.

    :param noise: Share of labels that are replaced by another label; for aspects, share of spans.
    :param missing: Share of labels that become None.
    """
    for row in rows:
        spoken = language(row["language"])
        labels: dict[str, Any] = {
            "sentiment": _other(row["sentiment"], list(SENTIMENT.values()), rng, noise),
            "topic": _other(row["topic"], spoken.topics, rng, noise),
            "stars": _other(row["stars"], STARS, rng, noise),
            "aspects": _relabel(row["aspects"], spoken, rng, noise),
        }
        yield row | {
            name: None if rng.random() < missing else label for name, label in labels.items()
        }


def _other(label: Any, labels: Sequence[Any], rng: random.Random, noise: float) -> Any:
    """Return another label with probability ``noise``, else the label."""
    hit = rng.random() < noise
    return rng.choice([other for other in labels if other != label]) if hit else label


def _relabel(tags: Iterable[str], spoken: Language, rng: random.Random, noise: float) -> list[str]:
    """Return BIO tags with the labels of some spans replaced."""
    relabelled: list[str] = []
    now = ""
    for tag in tags:
        place, _, label = tag.partition("-")
        if place == "B":
            now = _other(label, spoken.labels, rng, noise)
        relabelled.append(f"{place}-{now}" if label else tag)
    return relabelled
