"""Morphological features per word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor
from typing_extensions import override

from polytask.core.features import Features
from polytask.tasks.base import Head, HeadContext, tasks
from polytask.tasks.heads import TAGS, WordHead
from polytask.tasks.spelling import SpelledTask
from polytask.tasks.words import WordTask


@final
@tasks.register("feats")
class Feats(SpelledTask, WordTask):
    """Morphological features of every word, such as ``Case=Nom|Number=Sing``.

    The score of a set of features is the sum of the scores of its features and a score of the set,
    so that rare sets learn from frequent ones that share features with them; the softmax is over
    the sets of the training rows, so that only those are predicted. Whole tags beside their parts:
    Straka, "UDPipe 2.0 Prototype", CoNLL 2018, section 3.3; there the parts are predicted apart.
    https://doi.org/10.18653/v1/K18-2020
    """

    label_type = "tags"
    of_forms = True

    def __init__(self, name: str, /, *, target: str = "feats", **options: Any) -> None:
        super().__init__(name, target=target, **options)

    @override
    def _learn(self, counts: Iterable[str] | Mapping[str, int]) -> None:
        super()._learn(self._merge(Counter(counts)))

    @override
    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self._restore_spellings(self.labels)

    @property
    @override
    def default_metrics(self) -> Sequence[str | dict[str, Any]]:
        return ("ufeats", "accuracy")

    @override
    def head(self, width: int) -> Head:
        members_VK = membership(self.labels)
        outputs = members_VK.shape[0] + members_VK.shape[1]
        return FeatsHead(WordHead(self.name, width, outputs, self.dropout, self.hidden), members_VK)


class FeatsHead(Head):
    """Scores K sets of V features: ``{tags_bWK, kept_bW}``.

    :param words: Scores the sets, then the features, of every word.
    :param members_VK: 1 where a feature is in a set.
    """

    members_VK: Tensor

    def __init__(self, words: Head, members_VK: Tensor) -> None:
        super().__init__()
        self.words = words
        self.register_buffer("members_VK", members_VK, persistent=False)

    @override
    def forward(self, features: Features, *context: HeadContext) -> dict[str, Tensor]:
        scores: dict[str, Tensor] = self.words(features)
        sets = self.members_VK.shape[1]
        own_bWK, parts_bWV = scores[TAGS][..., :sets], scores[TAGS][..., sets:]
        return {**scores, TAGS: own_bWK + parts_bWV @ self.members_VK}


def membership(sets: Sequence[str]) -> Tensor:
    """Which features, sorted, are in which sets: 1 or 0, of shape (V, K).

    A set without any feature, written ``_``, has that as its only feature.
    """
    known = sorted({feature for one in sets for feature in one.split("|")})
    rows = [[float(feature in one.split("|")) for one in sets] for feature in known]
    return torch.tensor(rows)
