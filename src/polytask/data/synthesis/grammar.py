"""Language files: the aspects that reviews speak of, and templates to speak of them.

A template is words and slots divided by spaces, so the words of a text are known. The slot
``{subject:-symbol?}`` is filled with one of the templates of the symbol, said

* of ``subject``: product, shop, or other, a product on the side; left out: of the same as before,
* with the opposite attitude if there is a ``-``,
* and only half of the time if there is a ``?``.

The templates of a symbol are listed in ``rules``; ``symbol/mild`` (plain, strong) are for attitudes
of that strength, ``symbol/+`` (-) for those in favour (against). These symbols mean something:

* ``review`` is where a text begins,
* ``clause`` speaks of one more aspect of its subject,
* ``term`` is what that aspect is called, ``opinion`` a word for or against it; both are listed as
  ``term: words for it / words against it`` under the label of the aspect,
* ``product`` and ``other`` are what the two products are called.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import yaml

_SLOT = re.compile(r"\{(?:(\w+):)?(-?)(\w+)(\??)\}")


@dataclass(frozen=True)
class Slot:
    """A place in a template that another rule fills."""

    subject: str
    opposite: bool
    symbol: str
    optional: bool


Template = tuple[str | Slot, ...]


@dataclass(frozen=True)
class Aspect:
    """Something that reviews judge, and the words that are for (+1) and against it (-1).

    The same word can be for one aspect and against another: a long battery life, a long wait.
    """

    label: str
    term: Template
    opinions: Mapping[int, tuple[Template, ...]]


@dataclass(frozen=True)
class Language:
    """One language file.

    :param separator: What stands between the words of a text.
    :param names: What the products of a topic are called.
    :param aspects: By topic, ``general`` for any product, ``shop`` for the shop.
    :param rules: The templates of every symbol.
    """

    separator: str
    names: Mapping[str, tuple[Template, ...]]
    aspects: Mapping[str, tuple[Aspect, ...]]
    rules: Mapping[str, tuple[Template, ...]]

    @property
    def topics(self) -> list[str]:
        """What a review can be about."""
        return list(self.names)

    @property
    def labels(self) -> list[str]:
        """What aspects can be about."""
        return sorted({aspect.label for group in self.aspects.values() for aspect in group})

    def text(self, words: Iterable[str]) -> str:
        """Words as people write them: no space before a mark."""
        return re.sub(r" (?=[.,:!])", "", self.separator.join(words))


@functools.cache
def language(code: str) -> Language:
    """The language of a code: ``en``, ``zh``."""
    path = resources.files(__package__).joinpath(f"{code}.yaml")
    return parse_language(yaml.safe_load(path.read_text(encoding="utf-8")))


def parse_language(content: Mapping[str, Any]) -> Language:
    """The content of a language file, with its templates taken apart."""
    topics = content["topics"]
    aspects = {name: topic["aspects"] for name, topic in topics.items()}
    aspects |= {name: content[name] for name in ("general", "shop")}
    return Language(
        separator=content["separator"],
        names={name: _templates(topic["names"]) for name, topic in topics.items()},
        aspects={name: tuple(_aspects(labels)) for name, labels in aspects.items()},
        rules={symbol: _templates(texts) for symbol, texts in content["rules"].items()},
    )


def _aspects(labels: Mapping[str, Mapping[str, str]]) -> Iterator[Aspect]:
    """``label: {term: words for it / words against it}`` -> aspects."""
    for label, terms in labels.items():
        for term, opinions in terms.items():
            praise, blame = (_templates(side.split()) for side in opinions.split("/"))
            yield Aspect(label, _template(term), {1: praise, -1: blame})


def _templates(texts: Iterable[str]) -> tuple[Template, ...]:
    return tuple(map(_template, texts))


def _template(text: str) -> Template:
    return tuple(map(_part, text.split()))


def _part(text: str) -> str | Slot:
    """One word or slot of a template."""
    slot = _SLOT.fullmatch(text)
    if slot is None:
        return text
    subject, opposite, symbol, optional = slot.groups()
    return Slot(subject or "", bool(opposite), symbol, bool(optional))
