"""Known values of what mixtures learn."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from polytask.data.mixing import mixtures
from polytask.data.mixing.coba import convergence_weights, divergence_factor, slopes
from polytask.data.mixing.dynamic import DynamicMixture, softmax
from polytask.data.mixing.exp3 import rescale_gains, share_weights
from polytask.data.mixing.ucb import plan


def test_the_best_arm_is_drawn_when_all_are_known_alike() -> None:
    assert plan(np.array([1.0, 0.2]), np.array([50.0, 50.0]), 0.1, 10).tolist() == [10, 0]


def test_without_rewards_the_arm_drawn_least_is_drawn() -> None:
    assert plan(np.zeros(3), np.array([9.0, 5.0, 9.0]), 1.0, 4).tolist() == [0, 4, 0]


def test_the_radius_of_ucb1() -> None:
    """With means 0.5 and 0, n = 100, the second arm leads once sqrt(ln n / n_2) is 0.5 larger."""
    radius = [np.sqrt(np.log(100) / count) for count in (85.0, 8.0, 15.0)]
    assert radius[1] - radius[0] > 0.5 > radius[2] - radius[0]
    means = np.array([0.5, 0.0])
    assert plan(means, np.array([92.0, 8.0]), 1.0, 1).tolist() == [0, 1]
    assert plan(means, np.array([85.0, 15.0]), 1.0, 1).tolist() == [1, 0]


def test_gains_are_rescaled_between_quantiles() -> None:
    history = [float(value) for value in range(11)]  # the quantiles are 2 and 8
    assert_allclose(rescale_gains(np.array([0.0, 2.0, 5.0, 8.0, 99.0]), history), [-1, -1, 0, 1, 1])
    assert rescale_gains(np.array([np.nan, 5.0]), history).tolist() == [0, 0]
    assert rescale_gains(np.array([3.0, 3.0]), [3.0, 3.0]).tolist() == [0, 0]


def test_weights_give_a_share_to_all_others() -> None:
    logits = np.log(np.array([0.6, 0.3, 0.1]))
    assert_allclose(softmax(share_weights(logits, 0.5)), [0.4, 0.325, 0.275])
    assert_allclose(softmax(share_weights(logits, 0.0)), [0.6, 0.3, 0.1])
    assert share_weights(np.array([3.0]), 0.5).tolist() == [0]


def test_slopes_are_those_of_lines() -> None:
    rounds = np.arange(5)[:, None]
    assert_allclose(slopes(np.hstack([1 - 0.1 * rounds, 0.5 + 0 * rounds])), [-0.1, 0], atol=1e-12)
    assert slopes(np.array([[np.nan], [1.0], [2.0]])).tolist() == [0]


def test_the_convergence_scores_of_the_paper() -> None:
    """Two pools: RCS = softmax(2 a / sum |a|), ACS = softmax(-N a / sum over rounds |a|), DF = 1."""
    slope_NP = np.array([[-0.3, -0.1], [-0.3, -0.1]])
    relative = softmax(np.array([2 * -0.3 / 0.4, 2 * -0.1 / 0.4]))
    assert divergence_factor(slope_NP.max(1), 5.0) == pytest.approx(1)
    assert_allclose(convergence_weights(slope_NP, 5.0, np.ones(2)), relative)


def test_a_pool_that_begins_to_diverge_gets_less() -> None:
    slope_NP = np.array([[-0.2, -0.2], [-0.2, -0.2], [-0.2, 0.2]])
    assert divergence_factor(slope_NP.max(1), 5.0) < 0.01
    steady, diverging = convergence_weights(slope_NP, 5.0, np.ones(2))
    assert diverging < steady


def doremi(**options: object) -> DynamicMixture:
    mixture = mixtures.build({"kind": "doremi", "window": 1, "floor": 0.001, **options})
    assert isinstance(mixture, DynamicMixture)
    mixture.set_pools([("one",), ("other",)])
    return mixture


def test_exponentiated_excess_over_a_reference() -> None:
    mixture = doremi(step_size=1.0, reference={"one": 0.5, "other": 2.0})
    mixture.observe({"losses": {"one": 1.5, "other": 1.0}, "gradient_norm": 1.0})
    expected = 0.999 * softmax(np.array([1.0, 0.0])) + 0.0005  # excess is 0 below the reference
    assert_allclose(mixture.weights(np.ones(2), 0.0), expected)


def test_exponentiated_excess_without_a_reference() -> None:
    mixture = doremi(step_size=1.0)
    mixture.observe({"losses": {"one": 4.0, "other": 2.0}, "gradient_norm": 1.0})
    assert_allclose(mixture.weights(np.ones(2), 0.0), [0.5, 0.5])
    mixture.observe({"losses": {"one": 1.0, "other": 2.0}, "gradient_norm": 1.0})
    expected = 0.999 * softmax(np.array([0.25, 1.0])) + 0.0005
    assert_allclose(mixture.weights(np.ones(2), 0.0), expected)
