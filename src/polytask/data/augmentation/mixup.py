"""Mixup of the rows of a task."""

from __future__ import annotations

from pathlib import Path
from typing import final

import torch
from pydantic import PositiveFloat
from torch.distributions import Beta
from typing_extensions import override

from polytask.data.augmentation.base import Mix, RowMixing, augmentations


@final
@augmentations.register("mixup")
class Mixup(RowMixing):
    """Mixes the pooled features of two rows of a task, and the losses of their labels, alike.

    Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018, section 2; for
    features of texts: Guo, Mao and Zhang, "Augmenting Data with Mixup for Sentence
    Classification", 2019, section 2 (senMixup). https://arxiv.org/abs/1710.09412 One weight for
    all rows of a task in a batch. Word-level tasks are not affected.

    :param alpha: The weight is drawn from Beta(alpha, alpha): uniform for 1; for smaller values,
        mostly near 0 or 1, which changes little.
    """

    def __init__(self, search: tuple[Path, ...] = (), /, *, alpha: PositiveFloat = 1.0) -> None:
        super().__init__(search)
        self._alpha = alpha

    @override
    def draw(self, rows: int) -> Mix:
        weight = float(Beta(self._alpha, self._alpha).sample())
        return Mix(weight, torch.randperm(rows))
