"""One review: what its author thinks, and how it is put into words."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from polytask.data.synthesis.grammar import Aspect, Language, Slot, Template

_FORCE = {"mild": 0.5, "plain": 1.25, "strong": 2.0}  # stars above or below 3
_FREQUENCY = (4, 3, 3)  # of these three; in mild reviews something is granted to the other side
_SPREAD = 0.35  # of the stars that authors of the same opinion give
_OWN_WORDS = 0.5  # how often an aspect is judged by words of its own, such as long or thin

Word = tuple[str, str]
"""A word and its tag."""


@dataclass(frozen=True)
class Attitude:
    """What is thought of something.

    :param of: A topic, or ``shop``.
    :param sign: +1 for it, -1 against it.
    :param strength: mild, plain or strong.
    :param tagged: Whether its aspects are those that the review is about.
    :param aspect: The aspect being spoken of, once there is one.
    """

    of: str
    sign: int
    strength: str
    tagged: bool = True
    aspect: Aspect | None = None


@dataclass(frozen=True)
class Opinions:
    """What the author of one review thinks.

    :param subjects: The attitudes to ``product``, ``shop`` and ``other``, a product that is
        mentioned but not reviewed.
    :param relatedness: How often the shop is judged like the product, and how often the product
        is judged by aspects of its own instead of such that any product has.
    """

    subjects: dict[str, Attitude]
    relatedness: float

    @classmethod
    def draw(cls, rng: random.Random, topics: Sequence[str], relatedness: float) -> Opinions:
        """Think of two products and a shop."""
        topic, other = rng.sample(topics, 2)
        product = Attitude(topic, *_verdict(rng))
        sign, strength = _verdict(rng)
        shop = Attitude("shop", product.sign if rng.random() < relatedness else sign, strength)
        return cls(
            {"product": product, "shop": shop, "other": Attitude(other, *_verdict(rng), False)},
            relatedness,
        )

    def stars(self, rng: random.Random) -> float:
        """The rating of the whole order, 1 to 5: more of the product the more tasks are related."""
        product, shop = (
            self.subjects[name].sign * _FORCE[self.subjects[name].strength]
            for name in ("product", "shop")
        )
        mean = 3 + self.relatedness * product + (1 - self.relatedness) * shop
        return float(min(5, max(1, round(rng.gauss(mean, _SPREAD)))))


def _verdict(rng: random.Random) -> tuple[int, str]:
    """A sign and a strength."""
    return rng.choice((1, -1)), rng.choices(list(_FORCE), _FREQUENCY)[0]


class Writer:
    """Puts the opinions of one author into the words of a language."""

    def __init__(self, rng: random.Random, language: Language, opinions: Opinions) -> None:
        self._rng = rng
        self._language = language
        self._opinions = opinions
        self._left: dict[str, list[Aspect]] = {}

    def words(self) -> list[Word]:
        """The words of the review and their tags; sentences begin with a capital."""
        words: list[Word] = []
        for word, tag in self._expand("review", self._opinions.subjects["product"]):
            begins = not words or words[-1][0] in ".!"
            words.append((word[0].upper() + word[1:] if begins else word, tag))
        return words

    def _expand(self, symbol: str, attitude: Attitude) -> Iterator[Word]:
        """What a symbol stands for, said with an attitude."""
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
                yield from self._expand(part.symbol, self._turn(attitude, part))

    def _turn(self, attitude: Attitude, slot: Slot) -> Attitude:
        """The attitude with which a slot is filled."""
        attitude = self._opinions.subjects.get(slot.subject, attitude)
        return replace(attitude, sign=-attitude.sign) if slot.opposite else attitude

    def _choices(self, symbol: str, attitude: Attitude) -> Sequence[Template]:
        """What a symbol may be replaced by."""
        if symbol in self._opinions.subjects:
            return self._language.names[self._opinions.subjects[symbol].of]
        if attitude.aspect and symbol == "term":
            return (attitude.aspect.term,)
        if attitude.aspect and symbol == "opinion" and self._rng.random() < _OWN_WORDS:
            return attitude.aspect.opinions[attitude.sign]
        rules = self._language.rules
        sign = "+" if attitude.sign > 0 else "-"
        names = (symbol, f"{symbol}/{sign}", f"{symbol}/{attitude.strength}")
        return next(rules[name] for name in names if name in rules)

    def _pick_aspect(self, of: str) -> Aspect:
        """An aspect that the review has not spoken of yet, or once more if there is none."""
        own = of == "shop" or self._rng.random() < self._opinions.relatedness
        group = of if own else "general"
        if not self._left.get(group):
            aspects = self._language.aspects[group]
            self._left[group] = self._rng.sample(aspects, len(aspects))
        return self._left[group].pop()


def _tag(template: Template, label: str) -> Iterator[Word]:
    """The words of an aspect: the first begins a span, the others are inside."""
    for position, word in enumerate(template):
        yield str(word), f"{'I' if position else 'B'}-{label}"
