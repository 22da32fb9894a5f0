"""Generates one review: draws the opinions of its author, then writes them in words."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from polytask.data.synthesis.grammar import Aspect, Language, Slot, Template

_FORCE = {"mild": 0.5, "plain": 1.25, "strong": 2.0}  # stars above or below 3
_FREQUENCY = (4, 3, 3)  # of these three; mild reviews concede a point to the other side
_SPREAD = 0.35  # standard deviation of the stars for equal opinions
_SPECIFIC_WORDS = 0.5  # how often an aspect is judged by specific words, such as long or thin

Word = tuple[str, str]
"""A word and its tag."""


@dataclass(frozen=True)
class Attitude:
    """An opinion about a product or the shop.

    :param of: A topic, or ``shop``.
    :param sign: +1 for positive, -1 for negative.
    :param strength: mild, plain or strong.
    :param tagged: True if its aspects are tagged, because the review is about it.
    :param aspect: The aspect that is judged; None before the first.
    """

    of: str
    sign: int
    strength: str
    tagged: bool = True
    aspect: Aspect | None = None


@dataclass(frozen=True)
class Opinions:
    """The opinions of the author of a review.

    :param subjects: The attitudes to ``product``, ``shop`` and ``other``, a product that is
        mentioned but not reviewed.
    :param relatedness: Probability that the shop is judged like the product, and that a product
        is judged by aspects of its topic instead of general ones.
    """

    subjects: dict[str, Attitude]
    relatedness: float

    @classmethod
    def draw(cls, rng: random.Random, topics: Sequence[str], relatedness: float) -> Opinions:
        """Draw opinions about two products and a shop."""
        topic, other = rng.sample(topics, 2)
        product = Attitude(topic, *_verdict(rng))
        sign, strength = _verdict(rng)
        shop = Attitude("shop", product.sign if rng.random() < relatedness else sign, strength)
        return cls(
            {"product": product, "shop": shop, "other": Attitude(other, *_verdict(rng), False)},
            relatedness,
        )

    def stars(self, rng: random.Random) -> float:
        """Return the rating of the order, 1 to 5; ``relatedness`` is the weight of the product."""
        product, shop = (
            self.subjects[name].sign * _FORCE[self.subjects[name].strength]
            for name in ("product", "shop")
        )
        mean = 3 + self.relatedness * product + (1 - self.relatedness) * shop
        return float(min(5, max(1, round(rng.gauss(mean, _SPREAD)))))


def _verdict(rng: random.Random) -> tuple[int, str]:
    """Draw a sign and a strength."""
    return rng.choice((1, -1)), rng.choices(list(_FORCE), _FREQUENCY)[0]


class Writer:
    """Writes the opinions of an author in the words of a language."""

    def __init__(self, rng: random.Random, language: Language, opinions: Opinions) -> None:
        self._rng = rng
        self._language = language
        self._opinions = opinions
        self._left: dict[str, list[Aspect]] = {}

    def words(self) -> list[Word]:
        """Return the words of the review with their tags; sentences begin with a capital."""
        words: list[Word] = []
        for word, tag in self._expand("review", self._opinions.subjects["product"]):
            begins = not words or words[-1][0] in ".!"
            words.append((word[0].upper() + word[1:] if begins else word, tag))
        return words

    def _expand(self, symbol: str, attitude: Attitude) -> Iterator[Word]:
        """Yield the words of a symbol, with an attitude."""
        if symbol == "clause":
            attitude = replace(attitude, aspect=self._pick_aspect(attitude.of))
        template = self._rng.choice(self._choices(symbol, attitude))
        if symbol == "term" and attitude.aspect and attitude.tagged:
            yield from _tag(template, attitude.aspect.label)
            return
        for part in template:
            if isinstance(part, str):
                yield part, "O"
            elif not part.optional or self._rng.random() < 0.5:
                yield from self._expand(part.symbol, self._attitude_in(attitude, part))

    def _attitude_in(self, attitude: Attitude, slot: Slot) -> Attitude:
        """Return the attitude with which a slot is filled."""
        attitude = self._opinions.subjects.get(slot.subject, attitude)
        return replace(attitude, sign=-attitude.sign) if slot.opposite else attitude

    def _choices(self, symbol: str, attitude: Attitude) -> Sequence[Template]:
        """Return the templates of a symbol for an attitude."""
        if symbol in self._opinions.subjects:
            return self._language.names[self._opinions.subjects[symbol].of]
        if attitude.aspect and symbol == "term":
            return (attitude.aspect.term,)
        if attitude.aspect and symbol == "opinion" and self._rng.random() < _SPECIFIC_WORDS:
            return attitude.aspect.opinions[attitude.sign]
        rules = self._language.rules
        sign = "+" if attitude.sign > 0 else "-"
        names = (symbol, f"{symbol}/{sign}", f"{symbol}/{attitude.strength}")
        return next(rules[name] for name in names if name in rules)

    def _pick_aspect(self, of: str) -> Aspect:
        """Return an aspect that the review has not judged yet; a repeated one if there is none."""
        is_specific = of == "shop" or self._rng.random() < self._opinions.relatedness
        group = of if is_specific else "general"
        if not self._left.get(group):
            aspects = self._language.aspects[group]
            self._left[group] = self._rng.sample(aspects, len(aspects))
        return self._left[group].pop()


def _tag(template: Template, label: str) -> Iterator[Word]:
    """Yield the words of an aspect with BIO tags."""
    for position, word in enumerate(template):
        yield str(word), f"{'I' if position else 'B'}-{label}"
