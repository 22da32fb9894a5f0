"""Rows that are read anew at every draw: the same for any number of workers, and after a restart."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from polytask.assembly.data.pools import collation
from polytask.core.batch import Batch, Inputs
from polytask.core.collated import Collated
from polytask.core.errors import DataError
from polytask.data.loader import Loader
from polytask.data.mixing import mixtures
from polytask.data.packed_arrays import pack_arrays, unpack_arrays
from polytask.data.pools import Collation, Pool, Preparation, collate, make_pool
from polytask.data.sampler import BatchSize
from polytask.data.sources import sources
from polytask.data.stored_tables import spool
from polytask.encoders.bag import Bag
from polytask.tasks.classification import Classification

SIZE, CROP = 12, 8
ROWS = 40
IMAGES = np.random.default_rng(0).integers(0, 256, (ROWS, SIZE, SIZE, 3), dtype=np.uint8)
BROKEN = 17


def prepare(rows: Sequence[Any]) -> list[Inputs]:
    return [{"number": number, "image": IMAGES[number]} for (number,) in rows]


def crop(inputs: Inputs, rng: np.random.Generator | None) -> Inputs:
    """A part of the image: the middle in evaluation, any in training, flipped half of the time."""
    image = inputs["image"]
    top, left = (2, 2) if rng is None else rng.integers(0, SIZE - CROP + 1, 2)
    part = image[top : top + CROP, left : left + CROP]
    flipped = rng is not None and bool(rng.integers(2))
    return {**inputs, "image": part[:, ::-1] if flipped else part, "flipped": flipped}


def refuse(inputs: Inputs, rng: np.random.Generator | None) -> Inputs:
    if inputs["number"] == BROKEN:
        raise DataError("image 17 is damaged")
    return crop(inputs, rng)


def stack(rows: Sequence[Inputs]) -> Collated:
    return Collated(
        number=torch.tensor([row["number"] for row in rows]),
        image=torch.from_numpy(np.stack([row["image"] for row in rows])),
    )


def side(target: str, inputs: Inputs) -> str:
    return {"left": "right", "right": "left"}[target] if inputs["flipped"] else target


COLLATION = Collation(stack, {"side": list}, crop, {"side": side})


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    rows = [{"number": number, "side": "left"} for number in range(ROWS)]
    table = sources.build({"kind": "rows", "rows": rows}, ()).load()["all"]
    preparation = Preparation(
        fields=lambda index, row: (row["number"],),
        prepare=prepare,
        length=lambda inputs: 1,
        targets={"side": lambda index, row, inputs: row["side"]},
    )
    return make_pool("images", table, preparation, tmp_path_factory.mktemp("pool"))


def loader(pool: Pool, workers: int, collation: Collation = COLLATION) -> Loader:
    mixture = mixtures.build("proportional")
    size = BatchSize(1000, 8)
    return Loader([pool], collation, mixture, size=size, seed=3, workers=workers)


def same(one: Batch, other: Batch) -> bool:
    sides = [batch.targets["side"].values for batch in (one, other)]
    names = one.inputs.keys() & other.inputs.keys()
    return sides[0] == sides[1] and all(
        torch.equal(one.inputs[name], other.inputs[name]) for name in names
    )


def first(batches: Iterator[Batch], count: int = 12) -> list[Batch]:
    return list(islice(batches, count))


def test_arrays_come_back_from_the_disk_as_they_were(pool: Pool) -> None:
    for row in pool.fetch(np.array([5, 0, 39])):
        np.testing.assert_array_equal(row["image"], IMAGES[row["number"]])
        assert row["image"].dtype == np.uint8


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_any_number_of_workers_gives_the_same_batches(pool: Pool, workers: int) -> None:
    state = torch.random.get_rng_state()
    batches = iter(loader(pool, workers))
    for one, other in zip(first(iter(loader(pool, 0))), first(batches), strict=True):
        assert same(one, other)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("ranks", [2, 3])
def test_any_number_of_ranks_reads_the_same(pool: Pool, ranks: int) -> None:
    loaders = [loader(pool, 0) for _ in range(ranks)]
    for rank, own in enumerate(loaders):
        own.set_rank(rank, ranks, "rows")
    for whole, *parts in islice(zip(loader(pool, 0), *loaders, strict=True), 12):
        for rank, part in enumerate(parts):
            assert torch.equal(part.inputs["image"], whole.inputs["image"][rank::ranks])


def test_nothing_is_called_for_rows_that_stay_as_they_are() -> None:
    assert collation(Bag(), {"mood": Classification("mood")}).read is None
    assert collation(Bag(), {"mood": Classification("mood")}).read_targets == {}


def test_workers_end_with_the_loader(pool: Pool) -> None:
    batches = iter(loader(pool, 2))
    next(batches)
    assert len(multiprocessing.active_children()) == 2
    batches.close()  # type: ignore[attr-defined]
    assert multiprocessing.active_children() == []


def test_a_row_is_read_in_another_way_at_every_draw(pool: Pool) -> None:
    seen: dict[int, set[bytes]] = {}
    for batch in first(iter(loader(pool, 0)), 50):  # ten passes
        for number, image in zip(
            batch.inputs["number"].tolist(), batch.inputs["image"], strict=True
        ):
            seen.setdefault(number, set()).add(image.numpy().tobytes())
    assert min(map(len, seen.values())) > 5


def test_targets_follow_what_was_read(pool: Pool) -> None:
    for batch in first(iter(loader(pool, 0)), 3):
        for number, image, target in zip(
            batch.inputs["number"].tolist(),
            batch.inputs["image"].numpy(),
            batch.targets["side"].values,
            strict=True,
        ):
            parts = np.lib.stride_tricks.sliding_window_view(IMAGES[number], (CROP, CROP), (0, 1))
            flipped = image[:, ::-1].transpose(2, 0, 1)
            found = {"left": image.transpose(2, 0, 1), "right": flipped}[target]
            assert (parts == found).all((-1, -2, -3)).any()


def test_in_evaluation_rows_are_read_alike(pool: Pool) -> None:
    rows = pool.fetch(np.arange(4))
    one, other = collate(rows, COLLATION), collate(rows, COLLATION)
    assert same(one, other)
    assert torch.equal(one.inputs["image"], torch.from_numpy(IMAGES[:4, 2:10, 2:10]))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_restored_loader_reads_the_same(pool: Pool, workers: int) -> None:
    whole = loader(pool, workers)
    batches = iter(whole)
    first(batches, 7)
    restored = loader(pool, 0)
    restored.restore(json.loads(json.dumps(whole.state())))
    for one, other in zip(first(batches), first(iter(restored)), strict=True):
        assert same(one, other)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_row_that_cannot_be_read_is_named(pool: Pool, workers: int) -> None:
    with pytest.raises(DataError, match=r"^rows\[17\]: image 17 is damaged$"):
        first(iter(loader(pool, workers, replace(COLLATION, read=refuse))))


def test_workers_end_at_an_error_that_is_kept(pool: Pool) -> None:
    with pytest.raises(DataError) as kept:
        first(iter(loader(pool, 2, replace(COLLATION, read=refuse))))
    assert multiprocessing.active_children() == []
    assert kept.tb is not None


@pytest.mark.parametrize("workers", [0, 2])
def test_so_is_one_that_a_library_refuses(pool: Pool, workers: int) -> None:
    def decode(inputs: Inputs, rng: np.random.Generator | None) -> Inputs:
        if inputs["number"] == BROKEN:
            raise SyntaxError("broken PNG file")  # as Pillow does
        return crop(inputs, rng)

    expected = r"^rows\[17\]: cannot be read: SyntaxError: broken PNG file\. Repair the row or rem"
    with pytest.raises(DataError, match=expected):
        first(iter(loader(pool, workers, replace(COLLATION, read=decode))))


def test_in_evaluation_its_place_is_known_too(pool: Pool) -> None:
    with pytest.raises(DataError, match=r"^rows\[17\]: image 17"):
        collate(pool.fetch(np.arange(ROWS)), replace(COLLATION, read=refuse))


def test_rows_of_a_guide_are_read_as_in_evaluation(pool: Pool) -> None:
    for batch in first(iter(loader(pool, 0, COLLATION.without_draws())), 3):
        numbers_B = batch.inputs["number"]
        assert torch.equal(batch.inputs["image"], torch.from_numpy(IMAGES[numbers_B, 2:10, 2:10]))


def test_workers_leave_signals_to_the_training(pool: Pool) -> None:
    batches = iter(loader(pool, 1))
    next(batches)
    [worker] = multiprocessing.active_children()
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(worker.pid or 0, number)
    assert len(first(batches, 30)) == 30


def nested(number: int) -> dict[str, Any]:
    """A row with arrays of several types, some of them in lists and mappings, some missing or empty."""
    rng = np.random.default_rng(number)
    return {
        "array": None if number % 4 == 1 else rng.integers(0, 9, 3, dtype=np.uint8),
        "shapes": rng.normal(size=(number % 3, 2)).astype(np.float32),
        "texts": [{"ids": rng.integers(0, 5, n), "n": n} for n in range(number % 4)] or None,
        "inner": {"scalar": np.array(2.5), "list": [np.zeros((1, 2)), np.ones((2, 1))]},
        "bytes": b"\x00ab" * number,
    }


def test_rows_come_back_from_arrow_as_they_were(tmp_path: Path) -> None:
    rows = [nested(number) for number in range(50)]
    stored = spool(map(pack_arrays, rows), tmp_path).with_format("arrow")
    for chosen in ([*range(50)], [7, 3, 3, 49], [1], [5, 6, 7]):
        for number, row in zip(chosen, unpack_arrays(stored[chosen]), strict=True):
            assert_tree(row, rows[number])


def assert_tree(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        found, expected = [*found.values()], [*expected.values()]
    if isinstance(expected, list):
        for one, other in zip(found, expected, strict=True):
            assert_tree(one, other)
    else:
        np.testing.assert_array_equal(found, expected)
        assert getattr(found, "dtype", None) == getattr(expected, "dtype", None)


def test_arrays_of_rows_are_views_of_what_is_mapped(pool: Pool) -> None:
    """Nothing is copied: the memory is read-only, and belongs to Arrow."""
    [row] = pool.fetch(np.array([3]))
    assert not row["image"].flags.writeable
    assert not row["image"].flags.owndata


def test_pictures_are_fetched_quickly(tmp_path: Path) -> None:
    """Not timed: nested lists of numbers would be a hundred times as large in Arrow."""
    rows = [{"number": number} for number in range(ROWS)]
    table = sources.build({"kind": "rows", "rows": rows}, ()).load()["all"]
    preparation = Preparation(lambda _, row: (row["number"],), prepare, lambda _: 1, {})
    made = make_pool("images", table, preparation, tmp_path, labelled=False)
    written = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert written < 1.5 * IMAGES.nbytes
    assert len(made) == ROWS
