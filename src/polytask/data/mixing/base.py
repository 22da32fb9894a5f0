"""The interface of a mixture: which rows each step sees."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from polytask.core.registry import Registry

Floats = npt.NDArray[np.float64]
Composition = Literal["mixed", "alternating", "joint"]


class Mixture(ABC):
    """How many rows of each pool the next steps see, and how they are put together.

    A pool is a set of rows that are prepared alike, with all tasks that label them.
    """

    composition: ClassVar[Composition] = "mixed"
    """mixed: a batch holds rows of any pools; alternating: of one pool, each in turn; joint: of
    every pool."""

    adapts: ClassVar[bool] = False
    """Whether shares follow from the training itself; they are then part of its record."""

    window: int = 100
    """Batches that are drawn with the same shares."""

    def set_pools(self, tasks_P: Sequence[Sequence[str]]) -> None:
        """Take note of the tasks that label each pool; called once, before everything else."""

    @abstractmethod
    def weights(self, sizes_P: Floats, progress: float) -> Floats:
        """The share of draws that each pool gets from here on, up to a common factor.

        :param sizes_P: Number of training rows of each pool.
        :param progress: Share of the budget that is used up, 0 to 1.
        """

    def observe(self, record: Mapping[str, Any]) -> None:
        """Be told the record of a finished step."""

    def state(self) -> dict[str, Any]:
        """What was learned from observed records, as JSON."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Undo ``state``."""


mixtures: Registry[Mixture] = Registry("mixing", Mixture)
