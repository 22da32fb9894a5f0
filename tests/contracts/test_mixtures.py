"""What every mixture must do, alone and through the sampler."""

import contextlib
from collections import Counter
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from polytask.core.errors import RecipeError
from polytask.data.mixing import mixtures
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
    sampler.close(frozenset({0}))
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
