"""Batches for training: planned by the sampler, then fetched, read and collated ahead of use.

With ``workers: 0``, a thread of this process works two batches ahead. Otherwise worker processes do,
for encoders that decode images or sounds. The batches are the same with any number of workers.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeAlias, final

import numpy as np
import torch
from torch.utils import data as torch_data

from polytask.core.batch import Batch
from polytask.core.collated import Collated
from polytask.core.errors import PolytaskError, RecipeError
from polytask.data.mixing.base import Mixture
from polytask.data.pools import Collation, Pool, collate
from polytask.data.prepared_rows import PreparedRow
from polytask.data.sampler import BatchSize, Rows, Sampler

_AHEAD = 2
"""Number of batches that the thread fetches in advance."""

_READ = 2
"""Separates the random numbers of reading from the sampler's, whose seeds begin with 0 and 1."""

Window: TypeAlias = Sequence[Rows]
Ahead: TypeAlias = Callable[[Window], Iterator[Batch]]
"""A function that fetches the batches of a window ahead of use."""


class Loader:
    """Unlimited training batches from several pools: a ``training.stream.Stream``.

    :param pools: Training rows.
    :param collation: Turns rows into tensors.
    :param mixture: Sets the share of the draws that each pool gets.
    :param size: The largest batch allowed.
    :param seed: Seed of every shuffle, and of the random numbers that rows are read with.
    :param workers: Number of processes that read ahead; 0 for a thread of this process.
    """

    def __init__(
        self,
        pools: Sequence[Pool],
        collation: Collation,
        mixture: Mixture,
        *,
        size: BatchSize,
        seed: int = 0,
        workers: int = 0,
    ) -> None:
        self.pools = pools
        self._mixture = mixture
        self._fetch = _Fetch(pools, collation, seed)
        self._workers = workers
        mixture.set_pools([pool.tasks for pool in pools])
        self._sampler = Sampler([pool.lengths_N for pool in pools], mixture, size, seed)
        self.state = self._sampler.state
        self.restore = self._sampler.restore
        self.epoch_draws = self._sampler.epoch_draws
        self._rank, self._ranks, self._placement = 0, 1, "rows"

    @property
    def labelled_together(self) -> set[tuple[str, ...]]:
        """The sets of tasks that label the same rows."""
        return {pool.tasks for pool in self.pools}

    def set_rank(self, rank: int, ranks: int, placement: str) -> None:
        """Yield only this rank's part of every batch; the part may be empty.

        :param placement: How batches are divided: by ``rows`` or by ``tasks`` (whole pools).
        """
        self._rank, self._ranks, self._placement = rank, ranks, placement

    def set_progress(self, progress: Callable[[], float]) -> None:
        """Set the function that returns the share of the training that is done, 0 to 1."""
        self._sampler.progress = progress

    def observe(self, record: Mapping[str, Any]) -> None:
        """Pass the record of a finished step to the mixture."""
        self._mixture.observe(record)

    def report(self) -> dict[str, Any]:
        """Return the current share of each pool; empty if the mixture does not adapt."""
        if not self._mixture.adapts:
            return {}
        shares_P = self._sampler.shares_P.tolist()
        shares = {pool.name: round(s, 4) for pool, s in zip(self.pools, shares_P, strict=True)}
        return {"mixing": shares}

    def exclude(self, tasks: frozenset[str]) -> None:
        """Draw no more rows from pools that only these tasks label."""
        self._sampler.exclude(
            frozenset(p for p, pool in enumerate(self.pools) if tasks.issuperset(pool.tasks))
        )

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches, beginning at the current state; a batch counts as used when yielded.

        A window is planned only when the previous one is used up. A mixture that learns from
        records therefore decides alike in a resumed and in an uninterrupted training.
        """
        starting = _processes(self._fetch, self._workers) if self._workers else _thread(self._fetch)
        with starting as ahead:
            for window in self._sampler.windows():
                for batch in ahead([self._take_part(rows) for rows in window]):
                    # Counted here, not where it is fetched: batches fetched ahead are not yet used.
                    self._sampler.advance()
                    yield batch

    def _take_part(self, rows: Rows) -> Rows:
        # Rows of a batch are sorted by length: taking turns gives every rank rows of all lengths.
        numbers_B = rows.pools_B if self._placement == "tasks" else np.arange(len(rows.pools_B))
        return rows.pick(numbers_B % self._ranks == self._rank)


@final
class _Fetch(torch_data.Dataset[Batch | PolytaskError]):
    """Makes a batch of its rows; gives the same result in any process."""

    def __init__(self, pools: Sequence[Pool], collation: Collation, seed: int) -> None:
        self._pools, self._collation, self._seed = pools, collation, seed

    def __getitem__(self, rows: Rows) -> Batch | PolytaskError:
        """Return a batch, or the error as a value.

        An error that is raised in a worker process reaches the trainer with another type.
        """
        try:
            return self(rows)
        except PolytaskError as error:
            return error

    def __call__(self, rows: Rows) -> Batch:
        if not len(rows.rows_B):
            return Batch(Collated(), {}, 0)
        found: dict[int, PreparedRow] = {}
        for pool in np.unique(rows.pools_B).tolist():
            positions_b = np.flatnonzero(rows.pools_B == pool)
            fetched = self._pools[pool].fetch(rows.rows_B[positions_b])
            found.update(zip(positions_b.tolist(), fetched, strict=True))
        chosen = [found[position] for position in range(len(found))]
        rngs = None if self._collation.read is None else self._make_rngs(rows)
        return collate(chosen, self._collation, rows.draw, rngs)

    def _make_rngs(self, rows: Rows) -> list[np.random.Generator]:
        """Return a generator per row, seeded by the seed, the row and its pass alone.

        So a row is read alike in any batch, in any process, and after any number of restarts.
        """
        draws = zip(
            rows.pools_B.tolist(), rows.rows_B.tolist(), rows.passes_B.tolist(), strict=True
        )
        return [np.random.default_rng([self._seed, _READ, *draw]) for draw in draws]


@contextlib.contextmanager
def _thread(fetch: _Fetch) -> Iterator[Ahead]:
    """Provide a function that fetches batches a little ahead, in another thread."""
    with ThreadPoolExecutor(1) as pool:

        def ahead(window: Window) -> Iterator[Batch]:
            waiting: list[Future[Batch]] = []
            for rows in window:
                waiting.append(pool.submit(fetch, rows))
                if len(waiting) > _AHEAD:
                    yield waiting.pop(0).result()
            for future in waiting:
                yield future.result()

        yield ahead


@contextlib.contextmanager
def _processes(fetch: _Fetch, workers: int) -> Iterator[Ahead]:
    """Provide a function that fetches batches in worker processes, kept for all windows.

    Processes and not threads: only one thread at a time can run the Python code of an encoder.
    They are forked, so that pools, encoder and plugins need not be pickled.

    :raises RecipeError: If the system cannot fork.
    """
    if "fork" not in multiprocessing.get_all_start_methods():
        raise RecipeError(
            [
                f"training.workers: found {workers}, but this system cannot fork processes. "
                "Set it to 0."
            ]
        )
    window: list[Rows] = []
    kept = [
        torch_data.DataLoader(
            fetch,
            batch_size=None,
            sampler=window,
            num_workers=workers,
            multiprocessing_context="fork",
            persistent_workers=True,
            worker_init_fn=_leave_signals_to_the_training,
            # The loader draws a seed for its workers. Drawn from the default generator, it would
            # change every later dropout mask.
            generator=torch.Generator(),
        )
    ]

    def ahead(rows: Window) -> Iterator[Batch]:
        # The loader keeps this list as its sampler: refilled, it serves the next window with
        # the same workers.
        window[:] = rows
        for found in kept[0]:
            if isinstance(found, PolytaskError):
                raise found
            yield found

    try:
        yield ahead
    finally:
        # Drop the last reference, so that the processes end here. A traceback that holds this frame
        # would keep them alive, and the garbage collector would close their queues before it asks
        # them to end.
        kept.clear()


def _leave_signals_to_the_training(worker: int) -> None:
    """Ignore Ctrl-C and the first SIGTERM, which reach all processes of a job.

    The training process ends its step, saves, and then ends its workers. If it is killed, the
    workers notice that and end.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _: signal.signal(number, signal.SIG_DFL))
