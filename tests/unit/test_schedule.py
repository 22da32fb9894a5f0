import pytest
import torch
from hypothesis import given, strategies as st
from torch import nn
from transformers import get_scheduler

from polytask.training.schedule import Kind, Schedule, factor

KINDS: tuple[Kind, ...] = ("linear", "cosine", "constant")


@pytest.mark.parametrize(
    ("share", "warmup", "kind", "expected"),
    [
        (0.0, 0.2, "linear", 0.0),
        (0.1, 0.2, "linear", 0.5),
        (0.2, 0.2, "linear", 1.0),
        (0.6, 0.2, "linear", 0.5),
        (1.0, 0.2, "linear", 0.0),
        (0.6, 0.2, "cosine", 0.5),
        (0.4, 0.2, "cosine", 0.8535533905932737),
        (1.0, 0.2, "cosine", 0.0),
        (0.1, 0.2, "constant", 0.5),
        (1.0, 0.2, "constant", 1.0),
        (0.0, 0.0, "linear", 1.0),
        (0.0, 0.0, "constant", 1.0),
        (0.5, 1.0, "cosine", 0.5),
        (1.0, 1.0, "linear", 1.0),
    ],
)
def test_known_values(share: float, warmup: float, kind: Kind, expected: float) -> None:
    assert factor(share, warmup, kind) == pytest.approx(expected, abs=1e-15)


@given(st.floats(0, 1), st.floats(0, 1), st.sampled_from(KINDS))
def test_a_share_of_the_peak_is_never_negative_nor_above_one(
    share: float, warmup: float, kind: Kind
) -> None:
    assert 0.0 <= factor(share, warmup, kind) <= 1.0


@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.3, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_every_update_of_a_training_counts(kind: Kind, warmup: float) -> None:
    rates = [factor(step / 10, warmup, kind, 0.1) for step in range(10)]
    assert min(rates) > 0
    assert max(rates) == pytest.approx(1.0)


def test_a_warm_up_rises_by_equal_steps_to_the_peak() -> None:
    rates = [factor(step / 10, 0.4, "constant", 0.1) for step in range(5)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])


@pytest.mark.parametrize("kind", KINDS)
def test_rates_are_those_of_transformers_one_update_earlier_in_the_warm_up(kind: Kind) -> None:
    total, warmup = 50, 0.1
    name = "constant_with_warmup" if kind == "constant" else kind
    theirs = torch.optim.AdamW(nn.Linear(1, 1).parameters(), lr=0.3)
    scheduler = get_scheduler(name, theirs, num_warmup_steps=5, num_training_steps=total)
    ours = torch.optim.AdamW(nn.Linear(1, 1).parameters(), lr=0.3)
    ours.param_groups[0]["initial_lr"] = 0.3
    expected = []
    for _ in range(total):
        expected += scheduler.get_last_lr()
        theirs.step()
        scheduler.step()
    for step in range(total):
        rate = Schedule(kind, warmup).apply(ours, step / total, 1 / total)
        assert rate == ours.param_groups[0]["lr"]
        assert rate == pytest.approx(expected[step + 1 if step < 5 else step], abs=1e-15)


def test_every_group_follows_its_own_peak() -> None:
    groups = [
        {"params": nn.Linear(1, 1).parameters(), "lr": rate, "initial_lr": rate}
        for rate in (0.1, 0.4)
    ]
    optimiser = torch.optim.AdamW(groups, lr=0.2)
    assert Schedule("linear", 0.0).apply(optimiser, 0.75) == pytest.approx(0.05)
    assert [group["lr"] for group in optimiser.param_groups] == pytest.approx([0.025, 0.1])
    Schedule("linear", 0.0).apply(optimiser, 0.0)
    assert [group["lr"] for group in optimiser.param_groups] == [0.1, 0.4]
