"""Milliseconds to fetch and collate a batch of pictures from a pool, and rows of text.

32 pictures of 96 × 128 × 3, kept as arrays, are fetched, read and stacked; beside them the same pictures as
PNG files that are decoded at each draw, and 32 texts. Nothing but the loader's work is timed.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from polytask.core.batch import Inputs
from polytask.core.collated import Collated
from polytask.core.padding import pad
from polytask.data.pools import Collation, Pool, Preparation, collate, make_pool
from polytask.data.sources import sources

ROWS, BATCH, REPEATS = 320, 32, 30
SHAPE = (96, 128, 3)


def main() -> None:
    """Print the median and the extremes of each kind of row."""
    argparse.ArgumentParser(description=__doc__).parse_args()
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
