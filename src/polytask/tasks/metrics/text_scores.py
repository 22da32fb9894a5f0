"""Metrics of the likeness of written texts and their references.

BLEU and chrF compare the characters as they are, like sacreBLEU. All others compare texts in
Unicode's composed form.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal, final

import numpy as np
from typing_extensions import override

from polytask.core.optional import require
from polytask.tasks.metrics.base import Floats, Metric, RowMeanMetric, Rows, metrics
from polytask.tasks.metrics.tokens import compose, is_chinese, is_unspaced, words_of

_EXTRA = "generation"
_ORDER = 6
_RECALL = 2.0
_SMOOTHING = "exp"
"""The default of sacreBLEU, but not of ``compute_bleu``."""

_STEMMED = 4
"""The fewest letters of words that rouge-score stems."""


@final
@metrics.register("text_match")
class TextMatch(RowMeanMetric):
    """The share of texts that are, white space aside, one of the right ones.

    Composed and decomposed Unicode letters are equal.
    https://aclanthology.org/D16-1264 (Rajpurkar et al., EMNLP 2016, section 6.1, whose normalising
    of case, articles and punctuation is left out)
    """

    forms = ("text",)
    name = "text_match"

    @override
    def row_score(self, reference: Any, prediction: Any) -> float:
        return float(_plain(prediction) in map(_plain, texts_of(reference)))


@final
@metrics.register("bleu")
class BLEU(Metric):
    """BLEU of all texts together, from 0 to 1, equal to sacreBLEU's corpus BLEU with its defaults.

    N-gram orders without a match are smoothed (``exp``). Post, "A Call for Clarity in Reporting
    BLEU Scores", WMT 2018. https://aclanthology.org/W18-6319

    :param tokenize: How sacreBLEU cuts texts into words: ``13a`` (its default), ``intl``, ``zh``
        for Chinese, ``char`` for Japanese, Thai and others without spaces. All but ``13a`` are
        part of the metric's name.
    """

    forms = ("text",)

    def __init__(
        self, labels: Sequence[str], /, *, tokenize: Literal["13a", "intl", "char", "zh"] = "13a"
    ) -> None:
        super().__init__(labels)
        self._tokenize = tokenize

    @property
    @override
    def name(self) -> str:
        return "bleu" if self._tokenize == "13a" else f"bleu_{self._tokenize}"

    @override
    def evidence(self, references: Rows, predictions: Rows, probabilities: Rows) -> Floats:
        """Return what BLEU counts in each row: both lengths, right n-grams, n-grams; (N, 10)."""
        scorer = require("sacrebleu", part="metrics: bleu", extra=_EXTRA).BLEU(
            tokenize=self._tokenize, force=True, effective_order=True
        )
        rows = []
        for text, right in zip(predictions, references, strict=True):
            found = scorer.sentence_score(text, texts_of(right))
            rows.append([found.sys_len, found.ref_len, *found.counts, *found.totals])
        return np.array(rows, np.float64).reshape(len(rows), 10)

    @override
    def value(self, evidence: Floats, weights_N: Floats) -> float:
        module = require("sacrebleu", part="metrics: bleu", extra=_EXTRA)
        written, right, *counts = [int(total) for total in weights_N @ evidence]
        if not weights_N.any():
            return float("nan")
        found = module.BLEU.compute_bleu(counts[:4], counts[4:], written, right, _SMOOTHING)
        return float(found.score / 100)

    @override
    def why_uninformative(self, references: Sequence[Any]) -> str | None:
        text = "".join(map("".join, map(texts_of, references)))
        fitting = "zh" if is_chinese(text) else "char"
        uncut = self._tokenize in ("13a", "intl") and is_unspaced(text)
        advice = f"{self._tokenize} finds no words in this script; use tokenize: {fitting}"
        return super().why_uninformative(references) or (advice if uncut else None)


@final
@metrics.register("chrf")
class ChrF(Metric):
    """F2 of n-grams of characters, n from 1 to 6, of all texts together.

    Popović, "chrF: character n-gram F-score for automatic MT evaluation", WMT 2015, with the
    parameters of sacreBLEU. https://aclanthology.org/W15-3049
    """

    forms = ("text",)
    name = "chrf"

    @override
    def evidence(self, references: Rows, predictions: Rows, probabilities: Rows) -> Floats:
        """Return n-grams of the text, of its best reference, and of both, (N, 3, 6)."""
        rows = [
            max((_overlaps(text, one) for one in texts_of(right)), key=_f_score)
            for text, right in zip(predictions, references, strict=True)
        ]
        return np.array(rows, np.float64).reshape(len(rows), 3, _ORDER)

    @override
    def value(self, evidence: Floats, weights_N: Floats) -> float:
        if not weights_N.any():
            return float("nan")
        return _f_score(np.tensordot(weights_N, evidence, axes=1))


@final
@metrics.register("rouge")
class Rouge(RowMeanMetric):
    """The mean over texts of the F1 of the words that a text shares with a reference.

    Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004, by the rouge-score package.
    Of several references the best one counts. https://aclanthology.org/W04-1013

    ASCII texts are split as by that package, which drops all other letters. Here words may be of any
    script, and every character of a script without spaces (Chinese, Japanese, Thai) is a word.

    :param variant: ``1`` and ``2`` compare words and pairs of them, ``L`` the longest common
        subsequence of words.
    :param stemmer: Compare English words by their stems.
    """

    forms = ("text",)

    def __init__(
        self,
        labels: Sequence[str],
        /,
        *,
        variant: Literal["1", "2", "L"] = "L",
        stemmer: bool = True,
    ) -> None:
        super().__init__(labels)
        self._variant, self._stemmer = variant, stemmer

    @property
    @override
    def name(self) -> str:
        return f"rouge_{self._variant.lower()}"

    @override
    def row_score(self, reference: Any, prediction: Any) -> float:
        kind = f"rouge{self._variant}"
        scores = (self._scorer.score(one, prediction)[kind] for one in texts_of(reference))
        return max(float(score.fmeasure) for score in scores)

    @cached_property
    def _scorer(self) -> Any:
        module = require("rouge_score.rouge_scorer", part="metrics: rouge", extra=_EXTRA)
        return module.RougeScorer([f"rouge{self._variant}"], tokenizer=_Tokenizer(self._stemmer))


class _Tokenizer:
    """Words for rouge-score, English ones by their stems."""

    def __init__(self, stemmer: bool) -> None:
        porter = require("nltk.stem.porter", part="metrics: rouge", extra=_EXTRA)
        self._stem = porter.PorterStemmer().stem if stemmer else str

    def tokenize(self, text: str) -> list[str]:
        """Return the words of a text."""
        return [
            self._stem(word) if word.isascii() and len(word) >= _STEMMED else word
            for word in words_of(text)
        ]


def _plain(text: str) -> str:
    return " ".join(compose(text).split())


def texts_of(reference: str | list[str]) -> list[str]:
    """Return all right texts of a row."""
    return [reference] if isinstance(reference, str) else reference


def _overlaps(text: str, right: str) -> Floats:
    """Return the numbers of n-grams of characters in one text, in the other and in both, (3, 6)."""
    written, wanted = (re.sub(r"\s+", "", each) for each in (text, right))
    columns = []
    for order in range(1, _ORDER + 1):
        ours, theirs = _grams(written, order), _grams(wanted, order)
        # As in sacreBLEU, n-grams longer than the reference do not count as written.
        columns.append([ours.total() if theirs else 0, theirs.total(), (ours & theirs).total()])
    return np.array(columns, np.float64).T


def _grams(text: str, order: int) -> Counter[str]:
    return Counter(text[start : start + order] for start in range(len(text) - order + 1))


def _f_score(counts: Floats) -> float:
    """Return the F2 of the mean precision and recall of the orders that both have; 0 without any."""
    written_O, wanted_O, both_O = counts
    known_O = (written_O > 0) & (wanted_O > 0)
    if not known_O.any():
        return 0.0
    precision = np.mean(both_O[known_O] / written_O[known_O])
    recall = np.mean(both_O[known_O] / wanted_O[known_O])
    weighted = _RECALL**2 * precision + recall
    return float((1 + _RECALL**2) * precision * recall / weighted) if weighted else 0.0
