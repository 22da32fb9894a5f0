"""How many phrases of a text were found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np
from pydantic import PositiveInt
from typing_extensions import override

from polytask.tasks.metrics.base import Floats, Metric, mean_of_defined, metrics
from polytask.tasks.metrics.tokens import words_of

_PLURALS = (
    ("ies", ("eies", "aies"), "y"),
    ("es", ("aes", "ees", "oes"), "e"),
    ("s", ("us", "ss"), ""),
)


@final
@metrics.register("keyphrase_f1")
class KeyphraseF1(Metric):
    """The mean over texts of the F1 of the first k phrases, plural and singular being the same.

    Words are compared in lower case and without the ending of the plural (the "S" stemmer of Harman,
    "How Effective Is Suffixing?", JASIS 1991, table 1), where others use the stemmer of Porter. Where
    fewer than k phrases are predicted, precision is that of those. Texts without phrases do not count.

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
    def evidence(
        self, references: Sequence[Any], predictions: Sequence[Any], probabilities: Sequence[Floats]
    ) -> Floats:
        pairs = zip(references, predictions, strict=True)
        return np.array([self._row(*map(_stemmed, pair)) for pair in pairs], np.float64)

    @override
    def value(self, evidence: Floats, weights_N: Floats) -> float:
        return mean_of_defined(evidence, weights_N)

    @override
    def why_uninformative(self, references: Sequence[Any]) -> str | None:
        none = None if any(references) else "no text has phrases"
        return super().why_uninformative(references) or none

    def _row(self, actual: list[str], predicted: list[str]) -> float:
        if not actual:
            return float("nan")
        first = predicted[: self.k]
        return 2 * len({*first} & {*actual}) / (len(first) + len(actual))


def stem(word: str) -> str:
    """A word without the ending of the plural; only the first rule whose ending it has is tried."""
    for ending, exceptions, replacement in _PLURALS:
        if word.endswith(ending):
            return word if word.endswith(exceptions) else word.removesuffix(ending) + replacement
    return word


def _stemmed(phrases: Sequence[Any]) -> list[str]:
    """Phrases by their stems, none twice."""
    words = (words_of(phrase["text"]) for phrase in phrases)
    return [*dict.fromkeys(" ".join(map(stem, own)) for own in words if own)]
