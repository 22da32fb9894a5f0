"""Language files: aspects that reviews judge, and templates of sentences.

A template is a sequence of words and slots between spaces, so the words of a text are known. The slot
``{subject:-symbol?}`` is filled with one of the templates of the symbol:

* ``subject`` is the thing judged: product, shop, or other (a second product); without it, the subject
  stays the same,
* ``-`` means the opposite attitude,
* ``?`` means that the slot is filled half of the time.

The templates of a symbol are listed in ``rules``. ``symbol/mild`` (plain, strong) are for attitudes of
that strength, ``symbol/+`` (-) for positive (negative) attitudes. Some symbols have a meaning:

* ``review`` is the start symbol,
* ``clause`` judges one more aspect of its subject,
* ``term`` is the name of that aspect, ``opinion`` a word for or against it; both are listed as
  ``term: words for it / words against it`` under the label of the aspect,
* ``product`` and ``other`` are the names of the two products.
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
    """An aspect with its positive (+1) and negative (-1) opinion words.

    A word can be positive for one aspect and negative for another: a long battery life, a long wait.
    """

    label: str
    term: Template
    opinions: Mapping[int, tuple[Template, ...]]


@dataclass(frozen=True)
class Language:
    """The content of a language file.

    :param separator: The text between two words.
    :param names: Names of the products of each topic.
    :param aspects: Aspects by topic; ``general`` for any product, ``shop`` for the shop.
    :param rules: The templates of every symbol.
    """

    separator: str
    names: Mapping[str, tuple[Template, ...]]
    aspects: Mapping[str, tuple[Aspect, ...]]
    rules: Mapping[str, tuple[Template, ...]]

    @property
    def topics(self) -> list[str]:
        """The topics of reviews."""
        return list(self.names)

    @property
    def labels(self) -> list[str]:
        """The labels of aspects, sorted."""
        return sorted({aspect.label for group in self.aspects.values() for aspect in group})

    def text(self, words: Iterable[str]) -> str:
        """Return words joined to a text, without a space before punctuation marks."""
        return re.sub(r" (?=[.,:!])", "", self.separator.join(words))


@functools.cache
def language(code: str) -> Language:
    """Return the language of a code: ``en`` or ``zh``."""
    path = resources.files(__package__).joinpath(f"{code}.yaml")
    return parse_language(yaml.safe_load(path.read_text(encoding="utf-8")))


def parse_language(content: Mapping[str, Any]) -> Language:
    """Return a language with its templates parsed."""
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
    """Yield the aspects of ``label: {term: words for it / words against it}``."""
    for label, terms in labels.items():
        for term, opinions in terms.items():
            praise, blame = (_templates(side.split()) for side in opinions.split("/"))
            yield Aspect(label, _template(term), {1: praise, -1: blame})


def _templates(texts: Iterable[str]) -> tuple[Template, ...]:
    return tuple(map(_template, texts))


def _template(text: str) -> Template:
    return tuple(map(_part, text.split()))


def _part(text: str) -> str | Slot:
    """Return a word or slot of a template."""
    slot = _SLOT.fullmatch(text)
    if slot is None:
        return text
    subject, opposite, symbol, optional = slot.groups()
    return Slot(subject or "", bool(opposite), symbol, bool(optional))
