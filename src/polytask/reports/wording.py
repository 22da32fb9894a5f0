"""The texts of the page in every language, from the dictionary ``texts.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from markupsafe import Markup

LANGUAGES = {"en": "English", "zh": "中文"}
"""Values of ``--language``, each with the name of the language in that language."""

_COMMAS = {"en": ", ", "zh": "、"}


@dataclass(frozen=True)
class Phrase:
    """A text in every language; the page shows the chosen one.

    :param texts: Language to text.
    """

    texts: Mapping[str, str]

    def __html__(self) -> str:
        """Return the text as HTML, with all languages."""
        return self._tag_languages("span")

    def tspans(self) -> Markup:
        """Return the text as parts of an SVG text, with all languages."""
        return Markup(self._tag_languages("tspan"))  # its texts are escaped

    def with_suffix(self, text: str) -> Phrase:
        """Return the phrase followed by a text that is the same in every language."""
        return Phrase({language: own + text for language, own in self.texts.items()})

    def _tag_languages(self, tag: str) -> Markup:
        marked = Markup('<{0} lang="{1}">{2}</{0}>')
        return Markup("").join(
            marked.format(tag, language, text) for language, text in self.texts.items()
        )


Text = str | Phrase
"""A text for the page: names and numbers are the same in every language, all else is a phrase."""


def phrase(key: str, **values: object) -> Phrase:
    """Return a text of the dictionary with values, or phrases, for the names in braces."""
    return Phrase(
        {
            name: text.format(
                **{k: v.texts[name] if isinstance(v, Phrase) else v for k, v in values.items()}
            )
            for name, text in dictionary()[key].items()
        }
    )


def join_phrases(phrases: Sequence[Phrase]) -> Phrase:
    """Return phrases joined by commas."""
    return Phrase(
        {name: comma.join(each.texts[name] for each in phrases) for name, comma in _COMMAS.items()}
    )


def in_language(text: Text, language: str) -> str:
    """Return a text in one language."""
    return text if isinstance(text, str) else text.texts[language]


@cache
def dictionary() -> dict[str, dict[str, str]]:
    """Return all texts: key to language to text."""
    content = files("polytask.reports").joinpath("texts.json").read_text(encoding="utf-8")
    found: dict[str, dict[str, str]] = json.loads(content)
    return found
