"""The best groups: by dynamic programming as by trying all."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product

import numpy as np
import pytest

from polytask.analysis.curve import find_crossing
from polytask.analysis.grouping import (
    MOST_EXACT,
    Group,
    best_groupings,
    gain_in_group,
    value_of,
)
from polytask.analysis.proposal import propose
from polytask.analysis.uncertainty import Floats


def families(count: int, size: int) -> Floats:
    """Tasks that help those of their family and harm all others."""
    family = np.arange(count * size) // size
    return np.where(family[:, None] == family, 1.0, -1.0)


FAMILIES = families(2, 3)


def gains(tasks: int, seed: int) -> Floats:
    return np.random.default_rng(seed).normal(size=(tasks, tasks))


def partitions(tasks: int, models: int) -> Iterator[list[Group]]:
    for places in product(range(models), repeat=tasks):
        groups = [tuple(t for t in range(tasks) if places[t] == g) for g in range(models)]
        yield [group for group in groups if group]


@pytest.mark.parametrize("models", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(3))
def test_no_partition_is_better(models: int, seed: int) -> None:
    gains_TT = gains(5, seed)
    found = best_groupings(gains_TT, models)[-1]
    best = max(value_of(gains_TT, groups, groups) for groups in partitions(5, models))
    assert found.value == pytest.approx(best)
    assert len(found.groups) <= models
    assert sorted(task for group in found.groups for task in group) == [*range(5)]
    assert found.exact


@pytest.mark.parametrize("models", [1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_no_overlapping_cover_is_better(models: int, seed: int) -> None:
    gains_TT = gains(4, seed)
    found = best_groupings(gains_TT, models, overlapping=True)[-1]
    sets = [s for size in range(1, 5) for s in combinations(range(4), size)]
    best = max(
        sum(max(gain_in_group(gains_TT, t, g) for g in chosen if t in g) for t in range(4))
        for count in range(1, models + 1)
        for chosen in combinations(sets, count)
        if {t for group in chosen for t in group} == {*range(4)}
    )
    assert found.value == pytest.approx(best)
    assert sorted(task for own in found.serves for task in own) == [*range(4)]
    for own, group in zip(found.serves, found.groups, strict=True):
        assert {*own} <= {*group}


def test_families_are_found() -> None:
    assert best_groupings(FAMILIES, 2)[-1].groups == ((0, 1, 2), (3, 4, 5))


def test_harmful_tasks_stay_alone_where_the_budget_allows() -> None:
    harmful = families(4, 1)
    found = best_groupings(harmful, 4)[-1]
    assert found.groups == ((0,), (1,), (2,), (3,))
    assert found.value == 0
    assert best_groupings(harmful, 1)[-1].groups == ((0, 1, 2, 3),)


def test_many_tasks_are_grouped_greedily() -> None:
    blocks = families(3, 5)
    assert len(blocks) > MOST_EXACT
    found = best_groupings(blocks, 3)[-1]
    assert found.groups == (tuple(range(5)), tuple(range(5, 10)), tuple(range(10, 15)))
    assert not found.exact
    assert len(best_groupings(blocks, 2)[-1].groups) == 2


def test_as_many_tasks_as_are_grouped_exactly() -> None:
    found = best_groupings(gains(MOST_EXACT, 0), 4)[-1]
    greedy = [tuple(range(3 * g, 3 * g + 3)) for g in range(4)]
    assert found.value >= value_of(gains(MOST_EXACT, 0), greedy, greedy)


def test_the_fewest_models_that_gain_all_are_proposed() -> None:
    found = propose([FAMILIES], list("abcdef"), None, overlapping=False)
    assert found["proposed"]["groups"] == [["a", "b", "c"], ["d", "e", "f"]]
    assert found["proposed"]["gains"] == dict.fromkeys("abcdef", 1.0)
    values = [each["value"] for each in found["by_models"]]
    assert values == sorted(values)
    assert len(propose([FAMILIES], list("abcdef"), 1, overlapping=False)["by_models"]) == 1


@pytest.mark.parametrize(("noise", "models"), [(5.0, 1), (0.01, 2)])
def test_more_models_are_proposed_only_where_they_gain_more_than_chance(
    noise: float, models: int
) -> None:
    """The families help within and a little across; many models are the best by noise alone."""
    rng = np.random.default_rng(0)
    helpful = np.where(FAMILIES > 0, 1.0, 0.8)
    samples = [helpful + rng.normal(0, noise, helpful.shape) for _ in range(20)]
    found = propose(samples, list("abcdef"), None, overlapping=False)
    assert found["by_models"][-1]["value"] > found["by_models"][0]["value"]
    assert len(found["proposed"]["groups"]) == models
    instead = found["instead"]
    if noise < 1:
        assert instead is None or instead["cross_validated"] <= instead["error"]
    else:  # what is proposed instead of the best is said, with the numbers it was judged by
        best = found["by_models"][instead["models"] - 1]
        assert best["value"] == pytest.approx(found["by_models"][-1]["value"])
        values = [each["cross_validated"] for each in found["by_models"]]
        more = values[instead["models"] - 1] - values[models - 1]
        assert instead["cross_validated"] == pytest.approx(more)


@pytest.mark.parametrize("seed", range(5))
def test_without_a_reason_what_is_proposed_is_predicted_to_gain_most(seed: int) -> None:
    samples = [gains(4, seed + number) for number in range(1 + seed % 3)]
    found = propose(samples, list("abcd"), None, overlapping=False)
    best = max(each["value"] for each in found["by_models"])
    proposed = found["proposed"]["value"]
    assert (found["instead"] is None) == (proposed == pytest.approx(best))
    if len(samples) == 1:  # nothing to judge by but the prediction
        assert found["instead"] is None


def test_what_is_not_known_in_a_sample_does_not_count_in_it() -> None:
    holed = FAMILIES.copy()
    holed[0, 1] = np.nan
    found = propose([FAMILIES, holed], list("abcdef"), None, overlapping=False)
    assert found["proposed"]["groups"] == [["a", "b", "c"], ["d", "e", "f"]]
    assert found["proposed"]["gains"]["a"] == 1.0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.2, 0.1, 0.05], None),
        ([-0.2, -0.1, -0.1], None),
        ([0.1, -0.1, -0.1], (100 * 200) ** 0.5),
        ([-0.1, 0.1, -0.1], (200 * 400) ** 0.5),
    ],
)
def test_where_sharing_stops_paying(values: list[float], expected: float | None) -> None:
    found = find_crossing([100, 200, 400], values)
    assert found == (None if expected is None else pytest.approx(expected))
