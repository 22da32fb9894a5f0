"""What every mixture must do, alone and through the sampler."""

import contextlib
import json
from collections import Counter
from collections.abc import Sequence
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from polytask.core.errors import RecipeError
from polytask.data.mixing import Mixture, mixtures
from polytask.data.mixing.dynamic import DynamicMixture
from polytask.data.sampler import BatchSize, Rows, Sampler

SIZES = (500, 60, 220)
SIZE = BatchSize(tokens=400)


def make(
    kind: str, sizes: tuple[int, ...] = SIZES, size: BatchSize = SIZE, seed: int = 0
) -> Sampler:
    generator = np.random.default_rng(0)
    lengths = [generator.integers(3, 30, number) for number in sizes]
    return Sampler(lengths, mixtures.build(kind), size, seed)


def draw(sampler: Sampler, number: int) -> list[Rows]:
    batches: list[Rows] = []
    for window in sampler.windows():
        for batch in window:
            sampler.advance()
            batches.append(batch)
            if len(batches) == number:
                return batches
    raise AssertionError


def draw_epoch(sampler: Sampler) -> list[Rows]:
    batches: list[Rows] = []
    while sum(len(batch.rows_B) for batch in batches) < sampler.epoch_draws:
        batches += draw(sampler, 1)
    return batches


def as_tuples(batches: list[Rows]) -> list[list[tuple[int, int]]]:
    return [
        list(zip(batch.pools_B.tolist(), batch.rows_B.tolist(), strict=True)) for batch in batches
    ]


@pytest.fixture(params=mixtures.kinds())
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_weights_are_finite_and_not_negative(kind: str) -> None:
    for progress in (0.0, 0.5, 1.0):
        weights_P = mixtures.build(kind).weights(np.array(SIZES, dtype=float), progress)
        assert weights_P.shape == (3,)
        assert np.isfinite(weights_P).all()
        assert (weights_P >= 0).all()


@pytest.mark.parametrize("batches", [1, 7, 45, 120])
def test_a_restored_sampler_goes_on_with_the_same_rows(kind: str, batches: int) -> None:
    whole, first, second = make(kind), make(kind), make(kind)
    expected = as_tuples(draw(whole, batches + 40))
    draw(first, batches)
    second.restore(first.state())
    assert as_tuples(draw(second, 40)) == expected[batches:]


def test_the_seed_decides_the_order(kind: str) -> None:
    assert as_tuples(draw(make(kind), 5)) == as_tuples(draw(make(kind), 5))
    assert as_tuples(draw(make(kind), 5)) != as_tuples(draw(make(kind, seed=1), 5))


def test_no_batch_is_larger_than_allowed(kind: str) -> None:
    generator = np.random.default_rng(0)
    lengths = [generator.integers(3, 30, number) for number in SIZES]
    for batch in draw(make(kind), 100):
        longest = max(lengths[p][r] for p, r in as_tuples([batch])[0])
        assert len(batch.rows_B) * longest <= SIZE.tokens


def test_draws_follow_the_weights(kind: str) -> None:
    sampler = make(kind)
    drawn = Counter(pool for pool, _ in chain.from_iterable(as_tuples(draw_epoch(sampler))))
    weights_P = mixtures.build(kind).weights(np.array(SIZES, dtype=float), 0.0)
    for pool, share in enumerate(weights_P / weights_P.sum()):
        assert drawn[pool] == pytest.approx(share * sum(SIZES), abs=2)


def test_no_row_is_drawn_twice_before_all_are_drawn_once(kind: str) -> None:
    drawn = Counter(chain.from_iterable(as_tuples(draw_epoch(make(kind)))))
    for pool in range(len(SIZES)):
        counts = [drawn[pool, row] for row in range(SIZES[pool])]
        assert max(counts) - min(counts) <= 1


def test_closed_pools_are_not_drawn_from_once_their_window_is_over(kind: str) -> None:
    sampler = make(kind)
    sampler.exclude(frozenset({0}))
    draw_epoch(sampler)
    later = chain.from_iterable(as_tuples(draw_epoch(sampler)))
    assert {pool for pool, _ in later} == {1, 2}


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 300), min_size=1, max_size=6),
    st.integers(40, 4000),
    st.sampled_from(mixtures.kinds()),
)
def test_an_epoch_has_as_many_draws_as_rows(sizes: list[int], tokens: int, kind: str) -> None:
    sampler = make(kind, tuple(sizes), BatchSize(tokens))
    if kind == "joint" and tokens < 30 * len(sizes):
        with contextlib.suppress(RecipeError):  # a batch may be too small for a row of each pool
            draw_epoch(sampler)
        return
    assert sum(len(batch.rows_B) for batch in draw_epoch(sampler)) == sum(sizes)


def test_proportional_is_every_row_exactly_once_per_epoch() -> None:
    sampler = make("proportional")
    for _ in range(3):
        drawn = Counter(chain.from_iterable(as_tuples(draw_epoch(sampler))))
        assert set(drawn.values()) == {1}
        assert len(drawn) == sum(SIZES)


def test_round_robin_gives_each_batch_to_one_pool_in_turn() -> None:
    batches = as_tuples(draw(make("round_robin"), 30))
    assert [{pool for pool, _ in batch} for batch in batches] == [{0}, {1}, {2}] * 10


def test_joint_has_every_pool_in_every_batch() -> None:
    for batch in as_tuples(draw(make("joint"), 30)):
        assert {pool for pool, _ in batch} == {0, 1, 2}


def test_annealed_ends_near_the_end_exponent() -> None:
    mixture = mixtures.build({"kind": "annealed", "end": 0.0})
    assert mixture.weights(np.array([4.0, 16.0]), 0.0).tolist() == [4, 16]
    assert mixture.weights(np.array([4.0, 16.0]), 1.0).tolist() == [1, 1]


def test_temperature_is_the_power_of_the_sizes() -> None:
    mixture = mixtures.build({"kind": "temperature", "alpha": 0.5, "limit": 100})
    assert mixture.weights(np.array([4.0, 400.0]), 0.0).tolist() == [2, 10]


def test_like_lengths_are_put_together() -> None:
    generator = np.random.default_rng(0)
    lengths = generator.integers(3, 200, 5000)
    sampler = Sampler([lengths], mixtures.build("proportional"), BatchSize(4096), 0)
    tokens = padded = 0
    for batch in draw_epoch(sampler):
        tokens += int(lengths[batch.rows_B].sum())
        padded += len(batch.rows_B) * int(lengths[batch.rows_B].max())
    assert tokens / padded > 0.95


def test_joint_refuses_batches_without_room_for_every_pool() -> None:
    with pytest.raises(RecipeError, match="joint mixing needs"):
        draw(make("joint", size=BatchSize(tokens=60)), 100)


def test_what_changes_follows_the_progress_of_the_training() -> None:
    sampler = make("annealed")
    sampler.progress = lambda: 1.0
    draw_epoch(sampler)  # the first window was shared out before
    later = Counter(pool for pool, _ in chain.from_iterable(as_tuples(draw_epoch(sampler))))
    expected_P = np.array(SIZES, dtype=float) ** 0.2
    for pool, share in enumerate(expected_P / expected_P.sum()):
        assert later[pool] == pytest.approx(share * sum(SIZES), abs=2)


DYNAMIC = [kind for kind in mixtures.kinds() if mixtures.part(kind).adapts]
POOLS = (("fast",), ("slow", "slower"), ("between",))
FALL = {"fast": 0.8, "slow": 0.99, "slower": 0.98, "between": 0.95}
"""What is left of the loss of a task after a round."""


def learner(kind: str) -> DynamicMixture:
    mixture = mixtures.build({"kind": kind, "window": 3})
    assert isinstance(mixture, DynamicMixture)
    mixture.set_pools(POOLS)
    return mixture


def teach(mixture: Mixture, steps: range, pools: Sequence[int] = (0, 1, 2)) -> None:
    """Tell of one pool after the other; where losses fall fast, gradients are large."""
    for step in steps:
        for pool in pools:
            losses = {task: 2.0 * FALL[task] ** (step / 3) for task in POOLS[pool]}
            steepest = -min(FALL[task] - 1 for task in POOLS[pool])
            mixture.observe({"losses": losses, "gradient_norm": steepest})


def shares(mixture: Mixture) -> list[float]:
    weights_P = mixture.weights(np.array(SIZES, dtype=float), 0.5)
    return [float(share) for share in weights_P / weights_P.sum()]


dynamic = pytest.mark.parametrize("kind", DYNAMIC)


@dynamic
def test_what_adapts_begins_evenly(kind: str) -> None:
    assert shares(learner(kind)) == pytest.approx([1 / 3] * 3)


@dynamic
def test_pools_get_more_or_less_as_their_losses_fall(kind: str) -> None:
    mixture = learner(kind)
    teach(mixture, range(40))
    fast, slow, _ = shares(mixture)
    more, less = (fast, slow) if mixture.favours == "fast" else (slow, fast)
    assert more > less + 0.05


@dynamic
def test_what_adapts_starves_no_pool(kind: str) -> None:
    mixture = learner(kind)
    for step in range(60):
        teach(mixture, range(step, step + 1))
        assert sum(shares(mixture)) == pytest.approx(1)
        assert min(shares(mixture)) >= mixture.floor / 3 - 1e-9


@dynamic
def test_a_pool_that_is_never_seen_disturbs_nothing(kind: str) -> None:
    mixture = learner(kind)
    teach(mixture, range(40), pools=(0, 2))
    assert np.isfinite(shares(mixture)).all()
    assert min(shares(mixture)) >= mixture.floor / 3 - 1e-9


@dynamic
@pytest.mark.parametrize("steps", [0, 2, 13])
def test_a_restored_mixture_goes_on_as_if_nothing_had_happened(kind: str, steps: int) -> None:
    whole, restored = learner(kind), learner(kind)
    teach(whole, range(steps))
    teach(restored, range(3))
    state = json.dumps(whole.state(), allow_nan=False)
    restored.restore(json.loads(state))
    assert json.dumps(restored.state()) == state
    for step in range(steps, steps + 20):
        teach(whole, range(step, step + 1))
        teach(restored, range(step, step + 1))
        assert shares(restored) == shares(whole)


@dynamic
def test_a_state_does_not_change_afterwards(kind: str) -> None:
    mixture = learner(kind)
    teach(mixture, range(5))
    state = mixture.state()
    before = json.dumps(state)
    teach(mixture, range(5, 12))
    assert json.dumps(state) == before


@dynamic
def test_steps_without_numbers_are_passed_over(kind: str) -> None:
    mixture = learner(kind)
    for _ in range(10):
        mixture.observe({"losses": {}, "gradient_norm": float("nan")})
    assert shares(mixture) == pytest.approx([1 / 3] * 3, abs=0.02)
    assert json.dumps(mixture.state(), allow_nan=False)


@dynamic
def test_the_sampler_draws_what_was_learned(kind: str) -> None:
    mixture = learner(kind)
    generator = np.random.default_rng(0)
    lengths = [generator.integers(3, 30, number) for number in SIZES]
    sampler = Sampler(lengths, mixture, SIZE, 0)
    teach(mixture, range(40))
    draw_epoch(sampler)  # some windows; the first one was shared out before
    drawn = Counter(pool for pool, _ in chain.from_iterable(as_tuples(draw_epoch(sampler))))
    assert [drawn[pool] / sum(SIZES) for pool in range(3)] == pytest.approx(
        shares(mixture), abs=0.02
    )
