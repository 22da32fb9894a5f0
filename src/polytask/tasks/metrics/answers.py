"""Metrics of answers that are parts of a text.

``squad_*`` follow the evaluation script of SQuAD 2.0 (Rajpurkar, Jia and Liang, ACL 2018.
https://aclanthology.org/P18-2124). ``cmrc_*`` follow the script of CMRC 2018 (Cui et al., EMNLP
2019. https://aclanthology.org/D19-1600). A row with several references counts with the best one.
A row without an answer is right if none is predicted. Composed and decomposed Unicode letters are
equal.
"""

from __future__ import annotations

import re
import string
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import Any, final

from typing_extensions import override

from polytask.tasks.metrics.base import RowMeanMetric, metrics
from polytask.tasks.metrics.tokens import compose, is_unspaced

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_SIGNS = frozenset("-:_*^/\\~`+=，。：？！“”；’《》…·、「」（）－～『』")
_HAN = re.compile("[\u4e00-\u9fa5]")


class _AnswerMetric(RowMeanMetric, ABC):
    """The mean over rows of the best agreement with a reference."""

    forms = ("answers",)

    @abstractmethod
    def agreement(self, reference: str, prediction: str) -> float:
        """Return the agreement of two answers, 0 to 1; an empty text stands for no answer."""

    @override
    def row_score(self, reference: Any, prediction: Any) -> float:
        return self._best(_texts(reference), _texts(prediction)[0])

    def _best(self, references: Sequence[str], prediction: str) -> float:
        return max(self.agreement(reference, prediction) for reference in references)


class _SquadMetric(_AnswerMetric, ABC):
    """A metric of SQuAD. A reference of articles and punctuation alone does not count."""

    @override
    def _best(self, references: Sequence[str], prediction: str) -> float:
        return super()._best([*filter(squad_words, references)] or [""], prediction)


@final
@metrics.register("squad_em")
class SquadEM(_SquadMetric):
    """The share of answers that are right but for case, punctuation, articles and spaces."""

    name = "squad_em"

    @override
    def agreement(self, reference: str, prediction: str) -> float:
        return float(squad_words(reference) == squad_words(prediction))


@final
@metrics.register("squad_f1")
class SquadF1(_SquadMetric):
    """F1 of the words that an answer shares with its reference, normalised as by ``squad_em``."""

    name = "squad_f1"

    @override
    def agreement(self, reference: str, prediction: str) -> float:
        actual, predicted = squad_words(reference), squad_words(prediction)
        if not (actual and predicted):
            return float(actual == predicted)
        return _f1((Counter(actual) & Counter(predicted)).total(), len(predicted), len(actual))

    @override
    def why_uninformative(self, references: Sequence[Any]) -> str | None:
        uncut = is_unspaced("".join(text for row in references for text in _texts(row)))
        advice = "its words are cut at spaces, which this script lacks; use cmrc_f1"
        return super().why_uninformative(references) or (advice if uncut else None)


@final
@metrics.register("cmrc_em")
class CmrcEM(_AnswerMetric):
    """The share of Chinese answers that are right but for case, spaces and punctuation."""

    name = "cmrc_em"

    @override
    def agreement(self, reference: str, prediction: str) -> float:
        return float("".join(cmrc_units(reference)) == "".join(cmrc_units(prediction)))


@final
@metrics.register("cmrc_f1")
class CmrcF1(_AnswerMetric):
    """F1 of the longest run of characters that a Chinese answer shares with its reference.

    Deviation: text that is not Chinese is split at spaces, not by the word tokenizer of NLTK.
    """

    name = "cmrc_f1"

    @override
    def agreement(self, reference: str, prediction: str) -> float:
        actual, predicted = cmrc_units(reference), cmrc_units(prediction)
        if not (actual and predicted):
            return float(actual == predicted)
        return _f1(longest_run(actual, predicted), len(predicted), len(actual))


def squad_words(text: str) -> list[str]:
    """Return the words of an answer, without ASCII punctuation and English articles."""
    plain = "".join(sign for sign in compose(text.lower()) if sign not in string.punctuation)
    return _ARTICLES.sub(" ", plain).split()


def cmrc_units(text: str) -> list[str]:
    """Return Chinese characters, and words of other scripts, without punctuation."""
    kept = "".join(sign for sign in compose(text.lower()).strip() if sign not in _SIGNS)
    return _HAN.sub(lambda found: f" {found[0]} ", kept).split()


def longest_run(one: Sequence[str], other: Sequence[str]) -> int:
    """Return the length of the longest common run of two sequences, without gaps."""
    best, before = 0, [0] * (len(other) + 1)
    for unit in one:
        row = [0]
        for place, candidate in enumerate(other):
            row.append(before[place] + 1 if unit == candidate else 0)
        best, before = max(best, *row), row
    return best


def _texts(answers: Sequence[Any]) -> list[str]:
    return [answer["text"] for answer in answers] or [""]


def _f1(shared: int, predicted: int, actual: int) -> float:
    return 2 * shared / (predicted + actual)
