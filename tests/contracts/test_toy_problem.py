"""Methods that converge to the Pareto front do so on the toy problem of CAGrad, from everywhere."""

import math

import pytest
import torch
from torch.testing import assert_close

from benchmarks.toy import EVERY, RATE, STARTS, STEPS, arrival, descend, losses, shortfall

STEPS_OF_PAPERS = {"famo": 50_000, "cagrad": 100_000, "upgrad": 100_000}
"""Where they are not the 35 000 of Nash-MTL. UPGrad takes those of CAGrad; its paper has none."""

BY_CHANCE = {"famo": (9.0, 9.0)}
"""Starts from which a method arrives or does not by their last digits, and so by the processor."""

SLOW = [pytest.mark.slow, pytest.mark.full]


@pytest.mark.parametrize(
    "kind",
    [
        "nash_mtl",
        pytest.param("fairgrad", marks=SLOW),
        pytest.param("aligned_mtl", marks=SLOW),
        pytest.param("mgda", marks=SLOW),
        pytest.param("famo", marks=SLOW),
        pytest.param("cagrad", marks=SLOW),
        pytest.param("upgrad", marks=SLOW),
    ],
)
def test_the_front_is_reached_from_all_five_points(kind: str) -> None:
    steps = int(STEPS_OF_PAPERS.get(kind, 35_000) * 0.001 / RATE)
    starts = [start for start in STARTS if start != BY_CHANCE.get(kind)]
    assert None not in [arrival(descend(kind, start), steps) for start in starts]


def test_the_plain_sum_does_not_leave_a_valley() -> None:
    [start] = [start for start in STARTS if start == (9.0, 9.0)]
    assert arrival(descend("equal", start), STEPS) is None


def test_the_losses_are_those_of_the_paper() -> None:
    """By hand at the bottom of a valley, where only the clamp is left, and of a bowl."""
    valley_2, bowl_2 = losses(torch.tensor([[-5.0, 10.0], [7.0, -8.0]], dtype=torch.float64)) - 21
    assert float(valley_2[0]) == pytest.approx(math.tanh(5) * (math.log(5e-6) + 6))
    assert float(valley_2[1]) == pytest.approx(math.tanh(5) * (math.log(5) + 6))
    assert bowl_2.tolist() == pytest.approx([-20 * math.tanh(4), -0.4 * math.tanh(4)])


def test_the_losses_mirror_each_other() -> None:
    points_N2 = torch.tensor([[3.0, 4.0], [-2.0, -6.0], [0.5, 0.0]])
    mirrored_N2 = points_N2 * torch.tensor([-1.0, 1.0])
    assert_close(losses(mirrored_N2), losses(points_N2).flip(1))


def test_nothing_is_short_of_the_front_on_it_and_much_above_it() -> None:
    assert shortfall(torch.tensor([7.0, -8.36])) < 0.01
    assert shortfall(torch.tensor([-7.0, -8.36])) < 0.01
    assert shortfall(torch.tensor([0.0, 5.0])) > 10


def test_a_path_that_ends_before_it_arrives_never_does() -> None:
    ahead = [torch.tensor([0.0, 5.0])] * (2 * EVERY) + [torch.tensor([7.0, -8.36])] * EVERY
    assert arrival(iter(ahead), 2 * EVERY) == 2 * EVERY
    assert arrival(iter(ahead), EVERY) is None
