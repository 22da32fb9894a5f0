"""The lemma of every word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

from typing_extensions import override

from polytask.core.batch import Row
from polytask.core.errors import DataError
from polytask.tasks import edits
from polytask.tasks.base import tasks
from polytask.tasks.labels import did_you_mean
from polytask.tasks.words import WordTask


@final
@tasks.register("lemma")
class Lemma(WordTask):
    """The lemma of every word, by edit scripts: one class for "cut off s" and such.

    The classes are the edit scripts of the words of the training rows (see ``tasks.edits``).
    Words that the encoder cut off get the most frequent script.

    :param words: Column of the words that lemmas belong to.
    """

    label_type = "words"
    of_forms = True
    label_name = "lemma edit"

    def __init__(
        self, name: str, /, *, words: str = "tokens", target: str = "lemma", **options: Any
    ) -> None:
        super().__init__(name, target=target, **options)
        self.words_column = words

    @property
    @override
    def default_metrics(self) -> Sequence[str | dict[str, Any]]:
        return ("lemmas", "accuracy")

    @override
    def reference(self, row: Row) -> list[str] | None:
        lemmas = super().reference(row)
        words = row.get(self.words_column)
        if lemmas is not None and isinstance(words, list | tuple) and len(words) != len(lemmas):
            raise self._miscount_error(len(lemmas), len(words))
        return lemmas

    @override
    def training_label(self, row: Row) -> list[str] | None:
        lemmas = self.reference(row)
        if lemmas is None:
            return None
        pairs = zip(self._words(row), lemmas, strict=True)
        return [edits.script(word, lemma) for word, lemma in pairs]

    @override
    def _label(self, value: Any) -> str:
        return value if isinstance(value, str) else super()._label(value)

    @override
    def answer(self, tags: list[str], words: list[str]) -> list[str]:
        scripts = self.pad_prediction(tags, words)
        return [edits.apply(script, word) for script, word in zip(scripts, words, strict=True)]

    @override
    def shown(self, label: list[str], row: Row) -> list[str]:
        pairs = zip(self._words(row), self.reference(row) or (), strict=True)
        return [f"{word!r} → {lemma!r}" for word, lemma in pairs]

    def _words(self, row: Row) -> Sequence[str]:
        words = row.get(self.words_column)
        if isinstance(words, list | tuple):
            return words
        hint = did_you_mean(self.words_column, [name for name in row if not name.startswith("_")])
        raise DataError(
            f"task {self.name}: expected a list of words in column {self.words_column!r}, found "
            f"{words!r}.{hint} Name the column of the words: words: NAME."
        )
