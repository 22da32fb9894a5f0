"""Which tasks should share a model, given how much each helps each, under a budget of models.

Standley, Zamir, Chen, Guibas, Malik and Savarese, "Which Tasks Should Be Learned Together in
Multi-Task Learning?", ICML 2020, section 4. https://arxiv.org/abs/1905.07553
Fifty et al., "Efficiently Identifying Task Groupings for Multi-Task Learning", NeurIPS 2021,
section 3. https://arxiv.org/abs/2109.04617

Objective: the sum over tasks of the gain of a task in the group that serves it. The gain of a task
in a group is the mean of what its other members give it, one by one; a task alone gains 0.

Deviations: instead of branch and bound, all sets of tasks are gone through by dynamic programming,
which is as exact; with more than 12 tasks, groups are merged greedily.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from polytask.analysis.uncertainty import Floats

MOST_EXACT = 12
"""With more tasks than this, groups are found greedily."""

Ints = npt.NDArray[np.int64]
Group = tuple[int, ...]


@dataclass(frozen=True)
class Grouping:
    """Models that serve all tasks.

    :param groups: The tasks trained in each model.
    :param serves: The tasks that each model answers for; without overlaps the same.
    :param value: The sum of the predicted gains.
    :param exact: Whether no grouping of so many models is better.
    """

    groups: tuple[Group, ...]
    serves: tuple[Group, ...]
    value: float
    exact: bool


def gain_in_group(gains_TT: Floats, task: int, group: Sequence[int]) -> float:
    """Return the mean gain of a task in a group.

    :param gains_TT: A row per task and a column per helper.
    """
    helpers = [helper for helper in group if helper != task]
    return float(gains_TT[task, helpers].mean()) if helpers else 0.0


def value_of(gains_TT: Floats, groups: Sequence[Group], serves: Sequence[Group]) -> float:
    """Return the objective: the sum over tasks of the gain in the group that serves each."""
    pairs = zip(groups, serves, strict=True)
    return sum(gain_in_group(gains_TT, task, group) for group, own in pairs for task in own)


def best_groupings(gains_TT: Floats, models: int, *, overlapping: bool = False) -> list[Grouping]:
    """Return the best groups for at most 1, 2, ... models; more models are never worse."""
    counts = range(1, models + 1)
    if len(gains_TT) > MOST_EXACT:
        return [_greedy(gains_TT, count) for count in counts]
    gains_GT = _gains_of_sets(gains_TT)
    members_GT = _members(len(gains_TT))
    if overlapping:
        value_S, trained_S = _find_best_supersets(gains_GT, members_GT)
    else:
        value_S, trained_S = (gains_GT * members_GT).sum(1), np.arange(len(members_GT))
    found = []
    for served in _partitions(value_S, models):
        groups = tuple(_tasks(int(trained_S[mask])) for mask in served)
        serves = tuple(map(_tasks, served))
        found.append(Grouping(groups, serves, value_of(gains_TT, groups, serves), exact=True))
    return found


def _members(tasks: int) -> Floats:
    """Return which tasks are in each set, members_GT; sets are numbered by their bits."""
    bits = np.arange(2**tasks)[:, None] >> np.arange(tasks) & 1
    return bits.astype(float)


def _gains_of_sets(gains_TT: Floats) -> Floats:
    """Return the gain of each task in each set, gains_GT; entries of tasks outside are unused."""
    others_TT = gains_TT * (1 - np.eye(len(gains_TT)))
    members_GT = _members(len(gains_TT))
    helpers_GT = members_GT.sum(1, keepdims=True) - 1
    found: Floats = members_GT @ others_TT.T / np.maximum(helpers_GT, 1)
    return found


def _find_best_supersets(gains_GT: Floats, members_GT: Floats) -> tuple[Floats, Ints]:
    """Return, for each set of tasks served, the best set that contains it to train, and its value."""
    sets = np.arange(len(members_GT))
    value_S, trained_S = np.zeros(len(sets)), sets.copy()
    for served in sets[1:]:
        larger = sets[sets & served == served]
        values = gains_GT[larger] @ members_GT[served]
        best = int(values.argmax())
        value_S[served], trained_S[served] = values[best], larger[best]
    return value_S, trained_S


def _partitions(value_S: Floats, models: int) -> list[list[int]]:
    """Return the best partitions of all tasks into at most 1, 2, ... sets, by dynamic programming."""
    best_SK = np.full((len(value_S), models + 1), -np.inf)
    best_SK[0] = 0.0
    taken_SK = np.zeros((len(value_S), models + 1), dtype=np.int64)
    for whole in range(1, len(value_S)):
        # The part with the lowest task comes first, so each partition is built only once.
        for part in _parts_with_lowest(whole):
            found_K = value_S[part] + best_SK[whole ^ part, :-1]
            # The tolerance keeps rounding from choosing more models than help.
            better_K = found_K > best_SK[whole, 1:] + 1e-12
            best_SK[whole, 1:][better_K] = found_K[better_K]
            taken_SK[whole, 1:][better_K] = part
    return [_trace_parts(taken_SK[:, : count + 1]) for count in range(1, models + 1)]


def _trace_parts(taken_SK: Ints) -> list[int]:
    """Return the parts that lead to the best value of all tasks."""
    left, parts = len(taken_SK) - 1, []
    for number in range(taken_SK.shape[1] - 1, 0, -1):
        if left:
            parts.append(int(taken_SK[left, number]))
            left ^= parts[-1]
    return sorted(parts, key=lambda part: part & -part)


def _parts_with_lowest(whole: int) -> Iterator[int]:
    """Yield the subsets of a set that have its lowest member."""
    lowest = whole & -whole
    rest = whole ^ lowest
    part = rest
    while True:
        yield part | lowest
        if not part:
            return
        part = part - 1 & rest  # the next smaller submask of rest


def _tasks(mask: int) -> Group:
    return tuple(task for task in range(mask.bit_length()) if mask >> task & 1)


def _greedy(gains_TT: Floats, models: int) -> Grouping:
    """Merge the two groups that gain most by it, until there are few enough and none gain."""
    groups: list[Group] = [(task,) for task in range(len(gains_TT))]
    while len(groups) > 1:
        merges = [(_gain_of_merge(gains_TT, pair), pair) for pair in combinations(groups, 2)]
        gain, (first, second) = max(merges)
        if gain <= 0 and len(groups) <= models:
            break
        kept = [group for group in groups if group not in (first, second)]
        groups = sorted([*kept, tuple(sorted((*first, *second)))])
    found = tuple(groups)
    return Grouping(found, found, value_of(gains_TT, found, found), exact=False)


def _gain_of_merge(gains_TT: Floats, pair: tuple[Group, Group]) -> float:
    """Return what two groups gain when they become one."""
    whole = tuple(sorted((*pair[0], *pair[1])))
    return value_of(gains_TT, [whole], [whole]) - value_of(gains_TT, pair, pair)
