"""The texts of the page, in every language that it speaks, from one dictionary: ``texts.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from markupsafe import Markup

LANGUAGES = {"en": "English", "zh": "中文"}
"""What ``--language`` takes, and the name of each language in itself."""

_COMMAS = {"en": ", ", "zh": "、"}


@dataclass(frozen=True)
class Phrase:
    """A text in every language; the page shows the one that is chosen.

    :param texts: Language to text.
    """

    texts: Mapping[str, str]

    def __html__(self) -> str:
        """As HTML."""
        return self._tag_languages("span")

    def tspans(self) -> Markup:
        """As parts of an SVG text."""
        return Markup(self._tag_languages("tspan"))  # its texts are escaped

    def with_suffix(self, text: str) -> Phrase:
        """With a text after it that is the same in every language."""
        return Phrase({language: own + text for language, own in self.texts.items()})

    def _tag_languages(self, tag: str) -> Markup:
        marked = Markup('<{0} lang="{1}">{2}</{0}>')
        return Markup("").join(
            marked.format(tag, language, text) for language, text in self.texts.items()
        )


Text = str | Phrase
"""Names of tasks and numbers are the same in every language; all else is a phrase."""


def phrase(key: str, **values: object) -> Phrase:
    """A text of the dictionary, with values, phrases among them, in place of the names in braces."""
    return Phrase(
        {
            name: text.format(**{key: _value(value, name) for key, value in values.items()})
            for name, text in dictionary()[key].items()
        }
    )


def join_phrases(phrases: Sequence[Phrase]) -> Phrase:
    """Phrases with commas between them."""
    return Phrase(
        {name: comma.join(each.texts[name] for each in phrases) for name, comma in _COMMAS.items()}
    )


def _value(value: object, language: str) -> object:
    return value.texts[language] if isinstance(value, Phrase) else value


def in_language(text: Text, language: str) -> str:
    """A text in one language, as it is."""
    return text if isinstance(text, str) else text.texts[language]


@cache
def dictionary() -> dict[str, dict[str, str]]:
    """All texts: key to language to text."""
    content = files("polytask.reports").joinpath("texts.json").read_text(encoding="utf-8")
    found: dict[str, dict[str, str]] = json.loads(content)
    return found
