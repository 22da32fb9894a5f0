"""Random deletion of words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
from typing_extensions import override

from polytask.data.augmentation.base import Share, Word, WordAugmentation, augmentations


@final
@augmentations.register("deletion")
class Deletion(WordAugmentation):
    """Copies texts without some words: each word is deleted at random, but one always stays.

    Wei and Zou, "EDA: Easy Data Augmentation Techniques for Boosting Performance on Text
    Classification Tasks", EMNLP 2019, section 2. https://aclanthology.org/D19-1670

    :param share: Probability of a word to be deleted.
    """

    def __init__(
        self, search: tuple[Path, ...] = (), /, *, share: Share = 0.1, **options: Any
    ) -> None:
        super().__init__(search, **options)
        self._share = share

    @override
    def change(self, words: Sequence[str], random: np.random.Generator) -> list[Word]:
        kept = np.flatnonzero(random.random(len(words)) >= self._share).tolist()
        kept = kept or [int(random.integers(len(words)))]
        return [(words[at], at) for at in kept]
