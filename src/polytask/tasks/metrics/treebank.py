"""Scores of Universal Dependencies on given words, as the CoNLL 2018 shared task counts them.

Zeman et al., "CoNLL 2018 Shared Task", section 4. https://doi.org/10.18653/v1/K18-2001
"""

from __future__ import annotations

from typing import Any, final

from typing_extensions import override

from polytask.tasks.metrics.agreement import AgreementMetric
from polytask.tasks.metrics.base import metrics

_UNIVERSAL = frozenset(
    [
        "PronType",
        "NumType",
        "Poss",
        "Reflex",
        "Foreign",
        "Abbr",
        "Gender",
        "Animacy",
        "Number",
        "Case",
        "Definite",
        "Degree",
        "VerbForm",
        "Mood",
        "Tense",
        "Aspect",
        "Voice",
        "Evident",
        "Polarity",
        "Person",
        "Polite",
    ]
)
"""The features that the shared task compares."""


@final
@metrics.register("uas")
class Uas(AgreementMetric):
    """The share of words with the right head (unlabelled attachment score)."""

    forms = ("tree",)
    name = "uas"

    @override
    def compare(self, reference: Any, prediction: Any) -> tuple[int, int]:
        pairs = zip(reference, prediction, strict=True)
        return sum(gold[0] == arc[0] for gold, arc in pairs), len(reference)


@final
@metrics.register("las")
class Las(AgreementMetric):
    """The share of words with the right head and relation; subtypes (``:pass``) are ignored."""

    forms = ("tree",)
    name = "las"

    @override
    def compare(self, reference: Any, prediction: Any) -> tuple[int, int]:
        pairs = zip(map(_universal_arc, reference), map(_universal_arc, prediction), strict=True)
        return sum(gold == arc for gold, arc in pairs), len(reference)


@final
@metrics.register("ufeats")
class Ufeats(AgreementMetric):
    """The share of words with all universal features right; language-specific ones do not count."""

    forms = ("tags",)
    name = "ufeats"

    @override
    def compare(self, reference: Any, prediction: Any) -> tuple[int, int]:
        pairs = zip(map(_universal, reference), map(_universal, prediction), strict=True)
        return sum(gold == feats for gold, feats in pairs), len(reference)


@final
@metrics.register("lemmas")
class Lemmas(AgreementMetric):
    """The share of words with the right lemma; any is right for an unknown lemma ("_")."""

    forms = ("words",)
    name = "lemmas"

    @override
    def compare(self, reference: Any, prediction: Any) -> tuple[int, int]:
        pairs = zip(reference, prediction, strict=True)
        return sum(gold in ("_", lemma) for gold, lemma in pairs), len(reference)


def _universal_arc(arc: Any) -> tuple[int, str]:
    head, relation = arc
    return head, relation.split(":")[0]


def _universal(feats: str) -> frozenset[str]:
    return frozenset(one for one in feats.split("|") if one.split("=")[0] in _UNIVERSAL)
