"""Random swaps of words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
from typing_extensions import override

from polytask.data.augmentation.base import Share, Word, WordAugmentation, augmentations


@final
@augmentations.register("swap")
class Swap(WordAugmentation):
    """Copies texts with two random words swapped, repeated several times.

    Wei and Zou, "EDA: Easy Data Augmentation Techniques for Boosting Performance on Text
    Classification Tasks", EMNLP 2019, section 2. https://aclanthology.org/D19-1670

    :param share: Number of swaps per word of the text; at least one swap.
    """

    def __init__(
        self, search: tuple[Path, ...] = (), /, *, share: Share = 0.1, **options: Any
    ) -> None:
        super().__init__(search, **options)
        self._share = share

    @override
    def change(self, words: Sequence[str], random: np.random.Generator) -> list[Word]:
        order = list(range(len(words)))
        for _ in range(max(1, round(self._share * len(words))) if len(words) > 1 else 0):
            one, other = random.choice(len(words), 2, replace=False).tolist()
            order[one], order[other] = order[other], order[one]
        return [(words[at], at) for at in order]
