"""F1 of the keyphrases of a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

from pydantic import PositiveInt
from typing_extensions import override

from polytask.tasks.metrics.base import RowMeanMetric, metrics
from polytask.tasks.metrics.tokens import words_of

_PLURALS = (
    ("ies", ("eies", "aies"), "y"),
    ("es", ("aes", "ees", "oes"), "e"),
    ("s", ("us", "ss"), ""),
)


@final
@metrics.register("keyphrase_f1")
class KeyphraseF1(RowMeanMetric):
    """The mean over texts of the F1 of the first k phrases; plural and singular are equal.

    Words are compared in lower case and without the ending of the plural: the "S" stemmer of Harman,
    "How Effective Is Suffixing?", JASIS 1991, table 1. Other scorers use the stemmer of Porter. With
    fewer than k predictions, precision counts only these. Texts without phrases do not count.

    :param k: How many of the first phrases count; all of them by default.
    """

    forms = ("phrases",)

    def __init__(self, labels: Sequence[str], /, *, k: PositiveInt | None = None) -> None:
        super().__init__(labels)
        self.k = k

    @property
    @override
    def name(self) -> str:
        return "keyphrase_f1" if self.k is None else f"keyphrase_f1_{self.k}"

    @override
    def row_score(self, reference: Any, prediction: Any) -> float:
        actual, predicted = _stem_phrases(reference), _stem_phrases(prediction)[: self.k]
        if not actual:
            return float("nan")
        return 2 * len({*predicted} & {*actual}) / (len(predicted) + len(actual))

    @override
    def why_uninformative(self, references: Sequence[Any]) -> str | None:
        none = None if any(references) else "no text has phrases"
        return super().why_uninformative(references) or none


def stem(word: str) -> str:
    """Remove the plural ending of a word. Only the first rule with a matching ending is tried."""
    for ending, exceptions, replacement in _PLURALS:
        if word.endswith(ending):
            return word if word.endswith(exceptions) else word.removesuffix(ending) + replacement
    return word


def _stem_phrases(phrases: Sequence[Any]) -> list[str]:
    """Return the distinct phrases of a row as stems."""
    words = (words_of(phrase["text"]) for phrase in phrases)
    return [*dict.fromkeys(" ".join(map(stem, own)) for own in words if own)]
