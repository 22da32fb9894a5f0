"""Milliseconds to fetch and collate a batch of pictures from a pool, and rows of text.

32 pictures of 96 × 128 × 3, kept as arrays, are fetched, read and stacked; beside them the same pictures as
PNG files that are decoded at each draw, and 32 texts. Nothing but the loader's work is timed.

Then the rows a second that a loader with several workers hands out, which are processes, and those of as many
threads. Pictures of 28 × 28 are decoded in little time, so most of it is Python code.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from polytask.core.batch import Batch, Inputs
from polytask.core.collated import Collated
from polytask.core.padding import pad
from polytask.data.loader import Loader
from polytask.data.mixing import mixtures
from polytask.data.pools import Collation, Pool, Preparation, collate, make_pool
from polytask.data.sampler import BatchSize
from polytask.data.sources import sources

ROWS, BATCH, REPEATS = 320, 32, 30
SHAPE = (96, 128, 3)


def main() -> None:
    """Print the median and the extremes of each kind of row, then rows a second."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    workers = parser.parse_args().workers
    images = np.random.default_rng(0).integers(0, 256, (ROWS, *SHAPE), dtype=np.uint8)
    words = np.random.default_rng(1).integers(0, 30_000, (ROWS, 64)).tolist()
    kinds: dict[str, tuple[Callable[[int], Inputs], Collation]] = {
        "arrays": (lambda row: {"image": images[row]}, Collation(stack, {})),
        "PNG files, decoded": (
            lambda row: {"image": png(images[row])},
            Collation(stack, {}, lambda inputs, rng: {"image": decoded(inputs["image"])}),
        ),
        "texts of 64 tokens": (
            lambda row: {"ids": words[row]},
            Collation(lambda rows: Collated(ids=pad([row["ids"] for row in rows], 0)), {}),
        ),
    }
    for name, (prepare, collation) in kinds.items():
        with tempfile.TemporaryDirectory() as folder:
            times = sorted(timed(pool_of(prepare, Path(folder)), collation))
            print(
                f"{name:20} {statistics.median(times):6.2f} ms ({times[0]:.2f} to {times[-1]:.2f})"
            )
    small = np.random.default_rng(0).integers(0, 256, (ROWS, 28, 28, 3), dtype=np.uint8)
    for name, pictures in (("28 × 28", small), ("96 × 128", images)):
        print_rates(name, [png(each) for each in pictures], kinds["PNG files, decoded"][1], workers)


def print_rates(
    name: str, files: Sequence[bytes], collation: Collation, workers: Sequence[int]
) -> None:
    """Print the rows a second of some files, for each number of workers."""
    with tempfile.TemporaryDirectory() as folder:
        pool = pool_of(lambda row: {"image": files[row]}, Path(folder))
        for count in workers:
            rates = [rate(batches(pool, collation, count)) for batches in (processes, threads)]
            print(f"{name:9} {count} workers: {rates[0]:6.0f} rows/s, threads: {rates[1]:6.0f}")


def processes(pool: Pool, collation: Collation, workers: int) -> Iterator[Batch]:
    """Yield batches as training does."""
    mixture, size = mixtures.build("proportional"), BatchSize(BATCH, BATCH)
    yield from Loader([pool], collation, mixture, size=size, workers=workers)


def threads(pool: Pool, collation: Collation, workers: int) -> Iterator[Batch]:
    """Yield batches that threads of this process read two ahead each."""
    random, waiting = np.random.default_rng(2), deque[Future[Batch]]()
    with ThreadPoolExecutor(workers) as executor:
        while True:
            rows_b = random.permutation(ROWS)[:BATCH]
            waiting.append(
                executor.submit(lambda rows: collate(pool.fetch(rows), collation), rows_b)
            )
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()


def rate(batches: Iterator[Batch]) -> float:
    """Return the rows a second of batches, the first ones left out; the median of several stretches."""
    rates = []
    for _ in range(8):
        start = time.perf_counter()
        rows = sum(batch.size for batch in islice(batches, 40))
        rates.append(rows / (time.perf_counter() - start))
    return statistics.median(rates[1:])


def pool_of(prepare: Callable[[int], Inputs], folder: Path) -> Pool:
    """Return prepared rows on disk."""
    rows = [{"number": number} for number in range(ROWS)]
    table = sources.build({"kind": "rows", "rows": rows}, ()).load()["all"]
    preparation = Preparation(
        lambda index, row: row["number"], lambda found: [*map(prepare, found)], lambda _: 1, {}
    )
    return make_pool("rows", table, preparation, folder, labelled=False)


def timed(pool: Pool, collation: Collation) -> list[float]:
    """Return the milliseconds of batches of rows drawn at random."""
    random = np.random.default_rng(2)
    found = []
    for _ in range(REPEATS):
        rows_b = random.permutation(ROWS)[:BATCH]
        start = time.perf_counter()
        collate(pool.fetch(rows_b), collation)
        found.append(1000 * (time.perf_counter() - start))
    return found


def stack(rows: Sequence[Inputs]) -> Collated:
    """Stack pictures."""
    return Collated(image=torch.from_numpy(np.stack([row["image"] for row in rows])))


def png(pixels: Any) -> bytes:
    """Return a picture as the content of a file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def decoded(content: bytes) -> Any:
    """Return the pixels of a file."""
    return np.asarray(Image.open(io.BytesIO(content)))


if __name__ == "__main__":
    main()
