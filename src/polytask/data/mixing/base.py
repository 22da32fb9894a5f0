"""The interface of a mixture: the share of the draws that each pool gets."""

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
    """Sets the share of the draws for each pool, and how rows of pools are combined in batches.

    A pool is a set of rows that are prepared in the same way, with all tasks that label them.
    """

    composition: ClassVar[Composition] = "mixed"
    """mixed: a batch holds rows of any pools; alternating: rows of one pool, pools take turns;
    joint: rows of every pool."""

    adapts: ClassVar[bool] = False
    """True if shares depend on the training; they are then part of its record."""

    window: int = 100
    """Number of batches that are drawn with the same shares."""

    def set_pools(self, tasks_P: Sequence[Sequence[str]]) -> None:
        """Receive the tasks that label each pool; called once, before everything else."""

    @abstractmethod
    def weights(self, sizes_P: Floats, progress: float) -> Floats:
        """Return the share of the next draws for each of P pools, up to a common factor.

        :param sizes_P: Number of training rows of each pool.
        :param progress: Share of the budget that is used up, 0 to 1.
        """

    def observe(self, record: Mapping[str, Any]) -> None:
        """Receive the record of a finished step."""

    def state(self) -> dict[str, Any]:
        """Return what was learned from observed records, as JSON."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a ``state``."""


mixtures: Registry[Mixture] = Registry("mixing", Mixture)
