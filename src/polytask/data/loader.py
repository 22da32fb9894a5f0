"""Batches for training: planned by the sampler, fetched and collated one ahead of their use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from polytask.core.batch import Batch
from polytask.core.collated import Collated
from polytask.data.mixing.base import Mixture
from polytask.data.pools import Collation, Pool, collate
from polytask.data.sampler import BatchSize, Rows, Sampler

A = TypeVar("A")
B = TypeVar("B")
_AHEAD = 2


class Loader:
    """Endless training batches from several pools.

    :param pools: Training rows.
    :param collation: How rows become tensors.
    :param mixture: Shares the draws among the pools.
    :param size: How large a batch may be.
    :param seed: Decides every order.
    """

    def __init__(
        self,
        pools: Sequence[Pool],
        collation: Collation,
        mixture: Mixture,
        *,
        size: BatchSize,
        seed: int = 0,
    ) -> None:
        self.pools = pools
        self.mixture = mixture
        self._collation = collation
        mixture.attend([pool.tasks for pool in pools])
        self._sampler = Sampler([pool.lengths_N for pool in pools], mixture, size, seed)
        self.state = self._sampler.state
        self.restore = self._sampler.restore
        self.epoch_draws = self._sampler.epoch_draws
        self._rank, self._ranks, self._placement = 0, 1, "rows"

    def divide(self, rank: int, ranks: int, placement: str) -> None:
        """Hand out one part of every batch, which may be empty; all parts together are the batch.

        :param placement: What the parts are: ``rows`` of all lengths, or the ``tasks`` of pools.
        """
        self._rank, self._ranks, self._placement = rank, ranks, placement

    def follow(self, progress: Callable[[], float]) -> None:
        """Let mixtures that change know how far the training is, 0 to 1."""
        self._sampler.progress = progress

    def shares(self) -> dict[str, float]:
        """The share of the draws that each pool gets now, by its name."""
        shares_P = self._sampler.shares_P.tolist()
        return {pool.name: round(s, 4) for pool, s in zip(self.pools, shares_P, strict=True)}

    def close(self, tasks: frozenset[str]) -> None:
        """Draw no more rows that only these tasks label."""
        self._sampler.close(
            frozenset(p for p, pool in enumerate(self.pools) if tasks.issuperset(pool.tasks))
        )

    def __iter__(self) -> Iterator[Batch]:
        """Batches from where the state stands; each counts as used when it is handed out.

        A window is planned only when the one before it is used up, so a mixture that learns from
        records decides the same way in an interrupted training and in one that was not.
        """
        with ThreadPoolExecutor(1) as pool:
            for window in self._sampler.windows():
                for batch in _ahead(pool, self._fetch, window):
                    self._sampler.advance()
                    yield batch

    def _fetch(self, rows: Rows) -> Batch:
        rows = self._own(rows)
        if not len(rows.rows_B):
            return Batch(Collated(), {}, 0)
        found: dict[int, Mapping[str, Any]] = {}
        for pool in np.unique(rows.pools_B).tolist():
            positions_b = np.flatnonzero(rows.pools_B == pool)
            fetched = self.pools[pool].fetch(rows.rows_B[positions_b])
            found.update(zip(positions_b.tolist(), fetched, strict=True))
        chosen = [found[position] for position in range(len(found))]
        return collate(chosen, self._collation, rows.draw)

    def _own(self, rows: Rows) -> Rows:
        numbers_B = rows.pools_B if self._placement == "tasks" else np.arange(len(rows.pools_B))
        own_B = numbers_B % self._ranks == self._rank
        return Rows(rows.pools_B[own_B], rows.rows_B[own_B], rows.draw)


def _ahead(pool: ThreadPoolExecutor, make: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
    """``map`` that works a little ahead in another thread."""
    waiting: list[Future[B]] = []
    for item in items:
        waiting.append(pool.submit(make, item))
        if len(waiting) > _AHEAD:
            yield waiting.pop(0).result()
    for future in waiting:
        yield future.result()
