"""Rows that are read anew at every draw: the same for any number of workers, and after a restart."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from polytask.core.batch import Batch, Inputs
from polytask.core.collated import Collated
from polytask.core.errors import DataError
from polytask.data.loader import Loader
from polytask.data.mixing import mixtures
from polytask.data.pools import Collation, Pool, Preparation, collate, make_pool
from polytask.data.sampler import BatchSize
from polytask.data.sources import sources

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
def test_an_error_while_reading_reaches_the_loop(pool: Pool, workers: int) -> None:
    collation = Collation(stack, {"side": list}, refuse, {"side": side})
    with pytest.raises(DataError, match=r"^image 17 is damaged$"):
        first(iter(loader(pool, workers, collation)))


def test_pictures_are_fetched_quickly(tmp_path: Path) -> None:
    """Not timed: nested lists of numbers would be a hundred times as large in Arrow."""
    rows = [{"number": number} for number in range(ROWS)]
    table = sources.build({"kind": "rows", "rows": rows}, ()).load()["all"]
    preparation = Preparation(lambda _, row: (row["number"],), prepare, lambda _: 1, {})
    made = make_pool("images", table, preparation, tmp_path, labelled=False)
    written = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert written < 1.5 * IMAGES.nbytes
    assert len(made) == ROWS
