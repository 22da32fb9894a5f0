"""Words in another order."""

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
    """Copies of texts in which two words, drawn anew each time, change places, some times over.

    Wei and Zou, "EDA: Easy Data Augmentation Techniques for Boosting Performance on Text
    Classification Tasks", EMNLP 2019, section 2. https://aclanthology.org/D19-1670

    :param share: Swaps per word of the text; at least one.
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
