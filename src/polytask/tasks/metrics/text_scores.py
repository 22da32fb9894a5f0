"""How alike written texts and their references are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, final

import numpy as np
from typing_extensions import override

from polytask.core.optional import require
from polytask.tasks.metrics.base import Floats, Metric, metrics

_EXTRA = "generation"
_ORDER = 6
_RECALL = 2.0


@final
@metrics.register("text_match")
class TextMatch(Metric):
    """The share of texts that are, white space aside, one of the right ones.

    https://aclanthology.org/D16-1264 (Rajpurkar et al., EMNLP 2016, section 6.1, whose normalising
    of case, articles and punctuation is left out)
    """

    forms = ("text",)

    @property
    @override
    def name(self) -> str:
        return "text_match"

    @override
    def evidence(
        self, references: Sequence[Any], predictions: Sequence[Any], probabilities: Sequence[Floats]
    ) -> Floats:
        right = [{" ".join(text.split()) for text in texts_of(one)} for one in references]
        pairs = zip(predictions, right, strict=True)
        return np.array([" ".join(text.split()) in those for text, those in pairs], np.float64)

    @override
    def value(self, evidence: Floats, weights_N: Floats) -> float:
        return float(np.average(evidence, weights=weights_N))


@final
@metrics.register("bleu")
class BLEU(Metric):
    """BLEU of all texts together as sacreBLEU counts it, from 0 to 1.

    Post, "A Call for Clarity in Reporting BLEU Scores", WMT 2018. https://aclanthology.org/W18-6319

    :param tokenize: How sacreBLEU cuts texts into words: ``13a``, ``intl``, ``char`` or ``zh``.
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
    def evidence(
        self, references: Sequence[Any], predictions: Sequence[Any], probabilities: Sequence[Floats]
    ) -> Floats:
        """What BLEU counts in each row: both lengths, right n-grams, n-grams; (N, 10)."""
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
        found = module.BLEU.compute_bleu(counts[:4], counts[4:], written, right)
        return float(found.score / 100)


@final
@metrics.register("chrf")
class ChrF(Metric):
    """F2 of n-grams of characters, n from 1 to 6, of all texts together.

    Popović, "chrF: character n-gram F-score for automatic MT evaluation", WMT 2015, with the
    parameters of sacreBLEU. https://aclanthology.org/W15-3049
    """

    forms = ("text",)

    @property
    @override
    def name(self) -> str:
        return "chrf"

    @override
    def evidence(
        self, references: Sequence[Any], predictions: Sequence[Any], probabilities: Sequence[Floats]
    ) -> Floats:
        """N-grams written, right ones there are, and both at once, (N, 3, 6); the best reference."""
        rows = [
            max((_overlaps(text, one) for one in texts_of(right)), key=_f_score)
            for text, right in zip(predictions, references, strict=True)
        ]
        return np.array(rows, np.float64).reshape(len(rows), 3, _ORDER)

    @override
    def value(self, evidence: Floats, weights_N: Floats) -> float:
        return _f_score(np.tensordot(weights_N, evidence, axes=1))


@final
@metrics.register("rouge")
class Rouge(Metric):
    """F1 of the words that a text has in common with a reference; the mean over texts.

    Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004, by the rouge-score package.
    Of several references the best one counts. https://aclanthology.org/W04-1013

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
    def evidence(
        self, references: Sequence[Any], predictions: Sequence[Any], probabilities: Sequence[Floats]
    ) -> Floats:
        module = require("rouge_score.rouge_scorer", part="metrics: rouge", extra=_EXTRA)
        kind = f"rouge{self._variant}"
        scorer = module.RougeScorer([kind], use_stemmer=self._stemmer)
        pairs = zip(predictions, references, strict=True)
        scores = [
            max(scorer.score(one, text)[kind].fmeasure for one in texts_of(right))
            for text, right in pairs
        ]
        return np.array(scores, np.float64)

    @override
    def value(self, evidence: Floats, weights_N: Floats) -> float:
        return float(np.average(evidence, weights=weights_N))


def texts_of(reference: str | list[str]) -> list[str]:
    """All right texts of a row."""
    return [reference] if isinstance(reference, str) else reference


def _overlaps(text: str, right: str) -> Floats:
    """N-grams of characters in one text, in the other, and in both; (3, 6)."""
    written, wanted = (re.sub(r"\s+", "", each) for each in (text, right))
    columns = []
    for order in range(1, _ORDER + 1):
        ours, theirs = _grams(written, order), _grams(wanted, order)
        columns.append([ours.total(), theirs.total(), (ours & theirs).total()])
    return np.array(columns, np.float64).T


def _grams(text: str, order: int) -> Counter[str]:
    return Counter(text[start : start + order] for start in range(len(text) - order + 1))


def _f_score(counts: Floats) -> float:
    """The mean F2 of the orders that both sides have; 0 where there is none."""
    written_O, wanted_O, both_O = counts
    known_O = (written_O > 0) & (wanted_O > 0)
    if not known_O.any():
        return 0.0
    precision = np.mean(both_O[known_O] / written_O[known_O])
    recall = np.mean(both_O[known_O] / wanted_O[known_O])
    weighted = _RECALL**2 * precision + recall
    return float((1 + _RECALL**2) * precision * recall / weighted) if weighted else 0.0
