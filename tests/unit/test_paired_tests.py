"""Tests of differences: published values, symmetry, and p values that are uniform without any."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy import stats

from polytask.evaluation.bootstrap import Floats, draw_shared_weights, resample_weights
from polytask.evaluation.paired_tests import (
    bootstrap_p,
    delong,
    mcnemar_mid_p,
    mcnemar_of_rows,
)
from polytask.evaluation.significance import Paired, compare_paired, holm, seeds_interval

counts = st.integers(0, 40)


def test_mcnemar_has_the_published_values() -> None:
    """Fagerland, Lydersen and Laake 2013, table 4: 1 and 7 discordant pairs."""
    assert mcnemar_mid_p(1, 7) == pytest.approx(0.0391, abs=5e-5)


@given(counts, counts)
def test_mcnemar_does_not_care_which_is_first(first: int, second: int) -> None:
    assert mcnemar_mid_p(first, second) == mcnemar_mid_p(second, first)
    total = first + second
    exact = float(stats.binomtest(first, total).pvalue) if total else 1.0
    assert 0 < mcnemar_mid_p(first, second) <= exact <= 1
    assert mcnemar_mid_p(first, first) == pytest.approx(1)


def test_mcnemar_counts_rows_on_which_only_one_is_right() -> None:
    first_N = np.array([True, True, False, False, True, True])
    second_N = np.array([True, False, False, True, False, False])
    assert mcnemar_of_rows(first_N, second_N) == mcnemar_mid_p(3, 1)


def test_delong_by_hand() -> None:
    """Placements 1, 1/2 and 1/2, 1 of the first curve; the second one is perfect."""
    positive_N = np.array([True, True, False, False])
    found = delong(positive_N, np.array([[0.9, 0.4, 0.5, 0.1], [0.8, 0.7, 0.3, 0.2]]))
    assert found.areas_2.tolist() == [0.75, 1.0]
    assert found.covariance_22.tolist() == [[0.125, 0.0], [0.0, 0.0]]
    assert found.p == pytest.approx(2 * stats.norm.sf(0.25 / 0.125**0.5))


def test_delong_is_what_its_definition_says_with_ties_too() -> None:
    generator = np.random.default_rng(0)
    positive_N = generator.random(60) < 0.4
    scores_2N = generator.integers(0, 8, size=(2, 60)) + positive_N * np.array([[2.0], [1.0]])
    ups_2M, downs_2K = scores_2N[:, positive_N], scores_2N[:, ~positive_N]
    gaps_2MK = ups_2M[:, :, None] - downs_2K[:, None, :]
    above_2MK = (gaps_2MK > 0) + 0.5 * (gaps_2MK == 0)
    found = delong(positive_N, scores_2N)
    covariance_22 = np.cov(above_2MK.mean(axis=2)) / ups_2M.shape[1]
    covariance_22 += np.cov(above_2MK.mean(axis=1)) / downs_2K.shape[1]
    assert found.areas_2 == pytest.approx(above_2MK.mean(axis=(1, 2)))
    assert found.covariance_22 == pytest.approx(covariance_22)
    order_N = generator.permutation(60)
    assert delong(positive_N[order_N], scores_2N[::-1, order_N]).p == pytest.approx(found.p)
    assert delong(positive_N, np.exp(scores_2N)).p == pytest.approx(found.p)


def test_delong_of_equal_scores_and_of_too_few() -> None:
    positive_N = np.array([True, True, False, False])
    assert delong(positive_N, np.array([[3.0, 1, 2, 0]] * 2)).p == 1
    assert math.isnan(delong(np.array([True, False]), np.ones((2, 2))).p)


def test_the_bootstrap_counts_both_tails() -> None:
    assert bootstrap_p(np.array([1.0] * 97 + [-1.0] * 2)) == pytest.approx(2 * 3 / 100)
    assert bootstrap_p(np.array([-1.0] * 97 + [1.0] * 2)) == pytest.approx(2 * 3 / 100)
    assert bootstrap_p(np.zeros(9)) == 1
    assert math.isnan(bootstrap_p(np.full(9, np.nan)))


def test_without_a_difference_p_values_are_uniform() -> None:
    """Two models of which neither is better; answers are correlated, as the rows are the same."""
    generator = np.random.default_rng(1)
    found: dict[str, list[float]] = {"mcnemar": [], "delong": [], "bootstrap": []}
    weights_RN = np.array([*resample_weights(200, 200, seed=2)])
    for _ in range(300):
        common_N, positive_N = generator.normal(size=200), np.arange(200) % 2 == 0
        scores_2N = common_N + generator.normal(size=(2, 200)) + positive_N
        right_2N = scores_2N > 0.5
        found["mcnemar"].append(mcnemar_of_rows(right_2N[0], right_2N[1]))
        found["delong"].append(delong(positive_N, scores_2N).p)
        found["bootstrap"].append(bootstrap_p(weights_RN @ (scores_2N[0] - scores_2N[1])))
    for name, chances in found.items():
        share = np.mean(np.array(chances) < 0.1)
        assert 0.05 < share < 0.16, (name, share)
        assert 0.42 < np.mean(chances) < 0.6, name


def crossed(generator: np.random.Generator, seeds: int, effect: float = 0.0) -> Paired:
    """Differences with a part by row, a part by seed, and a part by both."""
    parts = [generator.normal(size=size) for size in ((100, 1), (1, seeds), (100, seeds))]
    differences_NS = effect + parts[0] + 0.15 * parts[1] + parts[2]
    weights_RN = np.array([*resample_weights(100, 100, seed=int(generator.integers(1 << 30)))])
    replicates_RS = weights_RN @ differences_NS / 100
    return compare_paired(differences_NS.mean(axis=0), replicates_RS, 100)


def test_over_rows_and_seeds_the_error_is_rather_too_large_than_too_small() -> None:
    generator = np.random.default_rng(3)
    chances = [crossed(generator, 4).p for _ in range(400)]
    assert 0.01 < np.mean(np.array(chances) < 0.1) < 0.12


def test_the_detectable_difference_is_found_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(4)
    detectable = np.median([crossed(generator, 4).detectable() for _ in range(40)])
    chances = [crossed(generator, 4, float(detectable)).p for _ in range(200)]
    assert 0.7 < np.mean(np.array(chances) < 0.05) < 0.97


def test_one_seed_says_nothing_about_seeds() -> None:
    replicates_RS = np.array([[0.5], [1.5]])
    found = compare_paired(np.array([1.0]), replicates_RS, 50)
    assert found.seeds_variance == 0
    assert found.freedom == pytest.approx(49)
    assert found.rows_variance == 0.5


def test_seeds_alone_give_the_t_test() -> None:
    differences_S = np.array([1.0, 2.0, 4.0])
    found = compare_paired(differences_S, np.tile(differences_S, (9, 1)), 50)
    expected = stats.ttest_1samp(differences_S, 0.0)
    low, high = expected.confidence_interval()
    assert found.p == pytest.approx(expected.pvalue)
    assert found.interval() == pytest.approx((low, high))
    mean, half = seeds_interval([1.0, 2.0, 4.0])
    assert (mean - half, mean + half) == pytest.approx((low, high))


def test_what_does_not_vary() -> None:
    nothing = compare_paired(np.zeros(3), np.zeros((9, 3)), 50)
    assert (nothing.p, nothing.interval()) == (1.0, (0.0, 0.0))
    always = compare_paired(np.ones(3), np.ones((9, 3)), 50)
    assert math.isnan(always.p)
    assert all(map(math.isnan, always.interval()))


def test_a_difference_turned_round_has_the_same_p_value() -> None:
    found = crossed(np.random.default_rng(5), 3, 0.3)
    turned = Paired(-found.difference, found.rows_variance, found.seeds_variance, 100, 3)
    low, high = found.interval()
    assert turned.p == found.p
    assert turned.interval() == pytest.approx((-high, -low))


def test_more_rows_and_seeds_make_it_surer() -> None:
    found = crossed(np.random.default_rng(6), 3, 0.3)
    assert found.scale_to(1, 3) == found
    assert found.scale_to(4, 3).rows_variance == pytest.approx(found.rows_variance / 4)
    assert found.scale_to(1, 6).seeds_variance == pytest.approx(found.seeds_variance / 2)
    assert found.scale_to(4, 6).detectable() < found.detectable()


def test_holm_by_hand() -> None:
    chances = {"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005, "none": math.nan}
    found = holm(chances)
    assert math.isnan(found.pop("none"))
    assert found == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_keeps_the_order_and_is_no_stricter_than_bonferroni(chances: list[float]) -> None:
    found = holm(dict(enumerate(chances)))
    for place, p in enumerate(chances):
        assert p <= found[place] <= min(1.0, p * len(chances)) + 1e-12
    order = sorted(found, key=lambda place: chances[place])
    assert [found[place] for place in order] == sorted(found.values())


def test_rows_of_two_tasks_are_resampled_alike_and_sources_apart() -> None:
    rows = {
        "a": [("x", 0), ("x", 1), ("x", 2), ("y", 0), ("y", 1)],
        "b": [("x", 2), ("x", 0)],
        "c": [("z", 0)],
    }
    seen: list[Floats] = []
    for weights in draw_shared_weights(rows, 50):
        assert weights["b"].tolist() == [weights["a"][2], weights["a"][0]]
        assert weights["a"][:3].sum() == 3
        assert weights["a"][3:].sum() == 2
        assert weights["c"].tolist() == [1]
        seen.append(weights["a"])
    assert len({tuple(each) for each in seen}) > 10
