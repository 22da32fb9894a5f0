"""Batches from real pools: a restored loader hands out the same ones, stopped tasks get none."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from polytask.core.batch import Batch, Inputs, Row
from polytask.core.collated import Collated
from polytask.core.errors import DataError
from polytask.core.padding import pad
from polytask.data.loader import Loader
from polytask.data.mixing import Mixture, mixtures
from polytask.data.pools import Collation, Pool, Preparation, make_pool
from polytask.data.sampler import BatchSize
from polytask.data.sources import sources

SIZES = {"mood": 90, "stars": 35, "topic": 60}
"""Rows labelled by each task; those of mood and stars are partly the same."""


def make_pools(folder: Path) -> list[Pool]:
    """One pool that two tasks label, one of another task."""
    shop = [
        {
            "text": "x " * (1 + number % 7) + str(number),
            "mood": number % 2 if number < SIZES["mood"] else None,
            "stars": number / 10 if number % 3 == 0 and number < 3 * SIZES["stars"] else None,
        }
        for number in range(120)
    ]
    other = [{"text": f"y {number}", "topic": number} for number in range(SIZES["topic"])]
    return [
        _pool("shop", shop, ["mood", "stars"], folder),
        _pool("other", other, ["topic"], folder),
    ]


def _pool(name: str, rows: Sequence[dict[str, Any]], tasks: list[str], folder: Path) -> Pool:
    table = sources.build({"kind": "rows", "rows": list(rows)}, ()).load()["all"]
    preparation = Preparation(
        fields=lambda index, row: (row["text"],),
        prepare=lambda chunk: [{"ids": [hash_of(word) for word in t.split()]} for (t,) in chunk],
        length=lambda inputs: len(inputs["ids"]),
        targets={task: partial(column, task) for task in tasks},
    )
    return make_pool(name, table, preparation, folder)


def column(name: str, index: int, row: Row, inputs: Inputs) -> Any:
    return row[name]


def hash_of(word: str) -> int:
    return int(word) + 3 if word.isdigit() else ord(word[0]) % 3


def stack(rows: Sequence[Inputs]) -> Collated:
    return Collated(ids=pad([row["ids"] for row in rows], -1))


COLLATION = Collation(stack, dict.fromkeys(SIZES, torch.tensor))


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> list[Pool]:
    return make_pools(tmp_path_factory.mktemp("pools"))


def make(pools: list[Pool], mixing: str | Mixture = "proportional", seed: int = 0) -> Loader:
    mixture = mixtures.build(mixing) if isinstance(mixing, str) else mixing
    return Loader(pools, COLLATION, mixture, size=BatchSize(60, 8), seed=seed)


def same(one: Batch, two: Batch) -> bool:
    return (
        torch.equal(one.inputs["ids"], two.inputs["ids"])
        and [*one.targets] == [*two.targets]
        and all(torch.equal(one.targets[t].rows_b, two.targets[t].rows_b) for t in one.targets)
        and all(torch.equal(one.targets[t].values, two.targets[t].values) for t in one.targets)
    )


def test_an_epoch_is_every_row_once(pools: list[Pool]) -> None:
    loader = make(pools)
    seen: list[float] = []
    drawn = 0
    for batch in loader:
        drawn += batch.size
        if "topic" in batch.targets:
            seen += batch.targets["topic"].values.tolist()
        if drawn >= loader.epoch_draws:
            break
    assert drawn == loader.epoch_draws == sum(map(len, pools))
    assert sorted(seen) == [*range(SIZES["topic"])]


@pytest.mark.parametrize("kind", mixtures.kinds())
@pytest.mark.parametrize("used", [0, 1, 13, 40])
def test_a_restored_loader_goes_on_with_the_same_batches(
    kind: str, used: int, pools: list[Pool]
) -> None:
    whole, restored = make(pools, kind), make(pools, kind)
    batches = iter(whole)
    for _ in range(used):
        next(batches)
    restored.restore(json.loads(json.dumps(whole.state())))
    for one, two in islice(zip(batches, restored, strict=True), 30):
        assert same(one, two)


def test_what_was_read_ahead_does_not_count_as_used(pools: list[Pool]) -> None:
    loader = make(pools)
    fresh = loader.state()
    batches = iter(loader)
    first = next(batches)
    assert loader.state() != fresh
    loader.restore(fresh)
    assert same(next(iter(loader)), first)


def test_the_seed_decides(pools: list[Pool]) -> None:
    def start(seed: int) -> list[Batch]:
        return [*islice(make(pools, seed=seed), 5)]

    assert all(map(same, start(1), start(1)))
    assert not all(map(same, start(1), start(2)))


def test_no_batch_is_larger_than_allowed(pools: list[Pool]) -> None:
    for batch in islice(make(pools), 60):
        assert batch.size <= 8
        assert batch.padded <= 60
        assert batch.tokens <= batch.padded


def until(batches: Iterator[Batch], rows: int) -> list[Batch]:
    """As many batches as hold these rows."""
    found = []
    while rows > 0:
        found.append(next(batches))
        rows -= found[-1].size
    return found


def test_rows_of_stopped_tasks_are_not_drawn_once_the_window_is_over(pools: list[Pool]) -> None:
    loader = make(pools)
    batches = iter(loader)
    next(batches)
    loader.exclude(frozenset({"topic"}))
    until(batches, loader.epoch_draws)
    later = until(batches, loader.epoch_draws)
    assert all("topic" not in batch.targets for batch in later)
    assert any("stars" in batch.targets for batch in later)


def test_rows_that_another_task_labels_are_still_drawn(pools: list[Pool]) -> None:
    loader = make(pools)
    loader.exclude(frozenset({"mood"}))
    batches = until(iter(loader), 2 * loader.epoch_draws)
    assert any("mood" in batch.targets for batch in batches)  # the loop drops the labels


class Learning(Mixture):
    """Draws from the first pool only, once it has been told anything."""

    told = 0

    def weights(self, sizes_P: Any, progress: float) -> Any:
        return sizes_P * [1, 0] if self.told else sizes_P

    def observe(self, record: Any) -> None:
        self.told += 1

    def state(self) -> dict[str, Any]:
        return {"told": self.told}

    def restore(self, state: Any) -> None:
        self.told = state["told"]


def test_a_mixture_that_learns_decides_the_same_after_a_restart(pools: list[Pool]) -> None:
    whole = make(pools, Learning())
    batches = iter(whole)
    for _ in range(5):
        next(batches)
        whole.observe({})
    restored = make(pools, Learning())
    restored.restore(json.loads(json.dumps(whole.state())))
    for _, one, two in zip(range(50), batches, restored, strict=False):
        assert same(one, two)
    later = until(batches, whole.epoch_draws)
    assert all("topic" not in batch.targets for batch in later)


def test_an_error_while_reading_ahead_reaches_the_loop(pools: list[Pool]) -> None:
    def refuse(rows: Sequence[Inputs]) -> Collated:
        raise DataError("cannot be stacked")

    collation = Collation(refuse, COLLATION.targets)
    loader = Loader(pools, collation, mixtures.build("proportional"), size=BatchSize(60))
    with pytest.raises(DataError, match="cannot be stacked"):
        next(iter(loader))


def test_batches_hold_what_the_rows_say(pools: list[Pool]) -> None:
    for batch in islice(make(pools), 20):
        if "topic" in batch.targets:
            rows_b = batch.targets["topic"].rows_b
            last = [row[row >= 0][-1] for row in batch.inputs["ids"][rows_b]]
            assert_close(torch.stack(last) - 3, batch.targets["topic"].values)
