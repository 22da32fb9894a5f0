"""Augmentations: changed copies of training rows, and changed features inside a batch.

``base`` holds the interfaces, ``copying`` makes the changed copies of rows, and every other module
holds one augmentation. Start reading at ``base``.
"""

from polytask.core.registry import import_siblings
from polytask.data.augmentation.base import (
    Adversary,
    Answer,
    Augmentation,
    EmbeddingAugmentation,
    Mix,
    RowMixing,
    TextAugmentation,
    Word,
    WordAugmentation,
    augmentations,
)

__all__ = [
    "Adversary",
    "Answer",
    "Augmentation",
    "EmbeddingAugmentation",
    "Mix",
    "RowMixing",
    "TextAugmentation",
    "Word",
    "WordAugmentation",
    "augmentations",
]

import_siblings(__name__, __path__)
