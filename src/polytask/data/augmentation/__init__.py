"""What training sees besides the rows as they are."""

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
