"""The common part of mixtures that learn their shares from the training."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, PositiveInt
from typing_extensions import override

from polytask.data.mixing.base import Floats, Mixture

EPSILON = 1e-12
Least = Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True)
class Round:
    """Observations of P pools over the steps of a window; NaN for pools without any.

    :param losses: Mean loss of each task.
    :param ratios_P: Mean over the tasks of a pool of loss divided by loss in the first round.
    :param shares_P: Planned share of the draws of each pool, ``floor`` included.
    :param powers_P: Mean squared gradient norm of steps with rows of this pool alone.
    """

    losses: Mapping[str, float]
    ratios_P: Floats
    shares_P: Floats
    powers_P: Floats


class DynamicMixture(Mixture, ABC):
    """Begins with equal shares and updates them after each round of steps.

    All that subclasses learn is in ``memory``, as JSON. Records hold values reduced over all
    processes, so every process computes the same shares.

    :param window: Number of batches drawn with the same shares, and number of steps per round.
    :param floor: Smallest share of a pool, as a fraction of an equal share.
    """

    adapts: ClassVar[bool] = True
    favours: ClassVar[Literal["fast", "slow"]]
    """The pools that get larger shares: pools whose losses fall fast, or slowly."""

    _losses: dict[str, list[float]]
    _powers: dict[str, list[float]]

    def __init__(self, *, window: PositiveInt = 20, floor: Least = 0.2) -> None:
        self.window, self.floor = window, floor
        self.memory: dict[str, Any] = {}
        self._tasks_P: tuple[frozenset[str], ...] = ()
        self._policy_P: Floats | None = None
        self._first: dict[str, float] = {}
        self._clear()

    @abstractmethod
    def learn(self, seen: Round) -> Floats:
        """Return the next shares, up to a common factor and before ``floor`` is applied.

        A pool without observations, such as one whose tasks have stopped, must not affect others.
        """

    @override
    def set_pools(self, tasks_P: Sequence[Sequence[str]]) -> None:
        self._tasks_P = tuple(map(frozenset, tasks_P))

    @override
    def weights(self, sizes_P: Floats, progress: float) -> Floats:
        return self._shares(len(sizes_P))

    @override
    def observe(self, record: Mapping[str, Any]) -> None:
        for task, loss in record["losses"].items():
            add(self._losses, task, loss)
        # With accumulation or several ranks a step may hold rows of several pools. Its gradient norm
        # belongs to a pool only if one pool alone can have given all of its tasks.
        alone = [p for p, tasks in enumerate(self._tasks_P) if tasks.issuperset(record["losses"])]
        norm = record["gradient_norm"]
        if record["losses"] and len(alone) == 1 and math.isfinite(norm):
            add(self._powers, str(alone[0]), norm**2)
        self._steps += 1
        if self._steps == self.window:
            self._policy_P = normalise(self.learn(self._round()))
            self._clear()

    @override
    def state(self) -> dict[str, Any]:
        policy = None if self._policy_P is None else self._policy_P.tolist()
        state = {"policy": policy, "first": self._first, "memory": self.memory}
        seen = {"steps": self._steps, "losses": self._losses, "powers": self._powers}
        return copy.deepcopy({**state, **seen})

    @override
    def restore(self, state: Mapping[str, Any]) -> None:
        state = copy.deepcopy(dict(state))
        policy = state["policy"]
        self._policy_P = None if policy is None else np.array(policy, dtype=float)
        self._first, self.memory = state["first"], state["memory"]
        self._steps, self._losses, self._powers = state["steps"], state["losses"], state["powers"]

    def by_pool(self, values: Mapping[str, float]) -> Floats:
        """Return for each pool the mean value of its tasks; NaN without any."""
        own_P = [
            [values[task] for task in sorted(tasks & values.keys())] for tasks in self._tasks_P
        ]
        return np.array([np.mean(own) if own else np.nan for own in own_P])

    def recall(self, name: str) -> Floats:
        """Return the values by pool that were kept under a name; NaN where there are none."""
        kept = self.memory.get(name, [None] * len(self._tasks_P))
        return np.array(kept, dtype=float)

    def keep(self, name: str, values_P: Floats) -> None:
        """Keep values by pool for ``recall``."""
        self.memory[name] = as_json(values_P)

    def _round(self) -> Round:
        losses = {task: total / count for task, (total, count) in self._losses.items()}
        for task, loss in losses.items():
            self._first.setdefault(task, loss)
        ratios = {task: loss / max(self._first[task], EPSILON) for task, loss in losses.items()}
        powers_P = np.full(len(self._tasks_P), np.nan)
        for pool, (total, count) in self._powers.items():
            powers_P[int(pool)] = total / count
        return Round(losses, self.by_pool(ratios), self._shares(len(powers_P)), powers_P)

    def _shares(self, pools: int) -> Floats:
        policy_P = np.ones(pools) / max(pools, 1) if self._policy_P is None else self._policy_P
        return (1 - self.floor) * policy_P + self.floor / max(pools, 1)

    def _clear(self) -> None:
        self._steps = 0
        self._losses, self._powers = {}, {}


def add(sums: dict[str, list[float]], name: str, value: float) -> None:
    """Add a value to the sum and the count of a name."""
    total, count = sums.get(name, (0.0, 0))
    sums[name] = [total + value, count + 1]


def normalise(weights_P: Floats) -> Floats:
    """Return weights divided by their sum; equal weights if the sum is 0."""
    total = weights_P.sum()
    return weights_P / total if total > 0 else np.full(len(weights_P), 1 / max(len(weights_P), 1))


def softmax(logits_P: Floats) -> Floats:
    """Return the softmax of logits."""
    return normalise(np.exp(logits_P - logits_P.max()))


def as_json(values_P: Floats) -> list[float | None]:
    """Return values with None for NaN, which JSON lacks."""
    return [None if math.isnan(value) else value for value in values_P.tolist()]


def measure_progress(mixture: DynamicMixture, ratios_P: Floats) -> Floats:
    """Return the relative decrease of each pool's loss since it was last seen; NaN at first."""
    before_P = mixture.recall("before")
    mixture.keep("before", np.where(np.isnan(ratios_P), before_P, ratios_P))
    return (before_P - ratios_P) / np.maximum(before_P, EPSILON)
