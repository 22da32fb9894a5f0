"""What training sees besides the rows as they are."""

from polytask.core.registry import import_siblings
from polytask.data.augmentation.base import (
    Augmentation,
    EmbeddingAugmentation,
    Mix,
    RowMixing,
    Word,
    WordAugmentation,
    augmentations,
)

__all__ = [
    "Augmentation",
    "EmbeddingAugmentation",
    "Mix",
    "RowMixing",
    "Word",
    "WordAugmentation",
    "augmentations",
]

import_siblings(__name__, __path__)
