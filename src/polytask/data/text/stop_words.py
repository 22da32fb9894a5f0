"""Removal of stop words."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from typing_extensions import override

from polytask.core.errors import DataError, RecipeError
from polytask.core.optional import require
from polytask.data.text.base import Text, TextStep, text_steps


@text_steps.register("stop_words")
class StopWords(TextStep):
    """Removes stop words, in any case; texts must be segmented into words before.

    Lists of 58 languages: https://github.com/stopwords-iso/stopwords-iso

    :param language: Language of the list: zh, en, de, ...
    :param file: File with more stop words, one word a line.
    :param keep: Words to keep although they are stop words, such as negations.
    """

    keeps_words = False

    def __init__(
        self,
        search: tuple[Path, ...] = (),
        /,
        *,
        language: str | None = None,
        file: str | None = None,
        keep: tuple[str, ...] = (),
    ) -> None:
        super().__init__(search)
        if language is None and file is None:
            raise RecipeError(
                ["stop_words: no list of words is given. Set language (zh, en, ...) or file."]
            )
        listed = _load_language(language) if language else frozenset()
        listed = listed.union(_read_words(file, search) if file else ())
        self._words = frozenset(map(str.lower, listed)).difference(map(str.lower, keep))

    @override
    def __call__(self, text: Text) -> Text:
        if isinstance(text, str):
            raise DataError(
                f"stop_words needs lists of words, but found the text {text[:40]!r}."
                " Put segment before stop_words."
            )
        return [word for word in text if word.lower() not in self._words]


def _load_language(language: str) -> frozenset[str]:
    """Return the stop words of a language."""
    package = require("stopwordsiso", part="stop_words", extra="text")
    if not package.has_lang(language):
        known = sorted(package.langs())
        close = difflib.get_close_matches(language, known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        found = f"no list for {language!r}.{hint} Known: {', '.join(known)}."
        raise RecipeError([f"stop_words.language: {found}"])
    return frozenset(package.stopwords(language))


def _read_words(name: str, search: Sequence[Path]) -> frozenset[str]:
    """Return the words of a file with one word a line."""
    places = [folder / name for folder in search or (Path(),)]
    path = next((place for place in places if place.is_file()), places[0])
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise DataError(f"stop_words.file: {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"stop_words.file: {path}: not UTF-8 text ({error})") from error
    return frozenset(filter(None, map(str.strip, lines)))
