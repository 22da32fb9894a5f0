"""The sampler: chooses the rows of each batch, as a pure function of the seed and a few counters.

Rows are drawn one window of batches at a time. The mixture sets the share of each pool in a window.
Each pool hands out its rows in shuffled passes: no row comes twice before every row came once.
Within a window, rows of similar length share a batch, which saves padding; batches are then shuffled.
The state holds counters alone, so a restored sampler continues with the same rows in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from polytask.core.errors import RecipeError
from polytask.data.mixing.base import Floats, Mixture

Ints = npt.NDArray[np.int64]
_SEED_STRIDE = 1_000_003


@dataclass(frozen=True)
class BatchSize:
    """The largest batch allowed.

    :param tokens: Maximum number of tokens, padding included.
    :param rows: Maximum number of rows, or None for no limit.
    """

    tokens: int
    rows: int | None = None

    def __str__(self) -> str:
        rows = "" if self.rows is None else f" and {self.rows} rows"
        return f"{self.tokens} tokens{rows}"

    def fits(self, rows: int, longest: int) -> bool:
        """Return whether a batch may hold this many rows, each padded to ``longest`` tokens."""
        return rows * longest <= self.tokens and (self.rows is None or rows <= self.rows)


@dataclass(frozen=True)
class Rows:
    """The rows of one batch.

    :param pools_B: The pool of each row.
    :param rows_B: The position of each row in its pool.
    :param passes_B: How often each row was drawn before.
    :param draw: A number made of the seed and the window, for random choices per batch.
    """

    pools_B: Ints
    rows_B: Ints
    passes_B: Ints
    draw: int = 0

    def pick(self, own_B: npt.NDArray[np.bool_]) -> Rows:
        """Return the rows where the mask is true."""
        return Rows(self.pools_B[own_B], self.rows_B[own_B], self.passes_B[own_B], self.draw)


class Sampler:
    """An unlimited sequence of batches of rows from several pools.

    :param lengths: Number of tokens of every row, one array per pool.
    :param mixture: Sets the share of the draws that each pool gets.
    :param size: The largest batch allowed.
    :param seed: Seed of every shuffle.
    :param progress: Returns the share of the training that is done, 0 to 1, for changing mixtures.
    """

    shares_P: Floats
    """The share of the draws in this window for each pool."""

    epoch_draws: int
    """The number of draws in an epoch: the number of rows of all pools."""

    def __init__(
        self,
        lengths: Sequence[Ints],
        mixture: Mixture,
        size: BatchSize,
        seed: int,
        progress: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._lengths = lengths
        self._mixture = mixture
        self._size = size
        self._seed = seed
        self.progress = progress
        self._sizes_P = np.array([len(pool) for pool in lengths], dtype=float)
        self._excluded: frozenset[int] = frozenset()
        self._window = 0
        self._position = 0
        self._draws_P = np.zeros(len(lengths), dtype=np.int64)
        self._credit_P = np.zeros(len(lengths))
        self.shares_P = self._compute_shares()
        self.epoch_draws = int(self._sizes_P.sum())

    def exclude(self, pools: frozenset[int]) -> None:
        """Draw no more rows from these pools, beginning with the next window."""
        self._excluded = pools

    def state(self) -> dict[str, Any]:
        """Return the counters as JSON; valid after any batch."""
        # Shares are stored, not recomputed: exclusions or what the mixture learned may have changed
        # since this window was planned, and a restored window must be planned as it was.
        return {
            "window": self._window,
            "position": self._position,
            "draws": self._draws_P.tolist(),
            "credit": self._credit_P.tolist(),
            "shares": self.shares_P.tolist(),
            "mixture": self._mixture.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue after the batch at which ``state`` was taken."""
        self._window, self._position = state["window"], state["position"]
        self._draws_P = np.array(state["draws"], dtype=np.int64)
        self._credit_P = np.array(state["credit"], dtype=float)
        self.shares_P = np.array(state["shares"], dtype=float)
        self._mixture.restore(state["mixture"])

    def windows(self) -> Iterator[list[Rows]]:
        """Yield the remaining batches of this window, then the batches of each following window.

        The caller calls ``advance`` for every batch it has used.
        """
        while True:
            draw = self._seed * _SEED_STRIDE + self._window + 1
            yield [replace(rows, draw=draw) for rows in self._plan()[self._position :]]
            # Draws and credit change only when a window is used up. A state saved inside a window
            # therefore plans the same window again and skips the batches that were used.
            self._draws_P, self._credit_P = self._count_draws()
            self._window, self._position = self._window + 1, 0
            self.shares_P = self._compute_shares()

    def advance(self) -> None:
        """Count one batch as used."""
        self._position += 1

    def _compute_shares(self) -> Floats:
        weights_P: Floats = np.array(
            self._mixture.weights(self._sizes_P, self.progress()), dtype=float
        )
        weights_P[[*self._excluded]] = 0.0
        weights_P[self._sizes_P == 0] = 0.0
        return weights_P / max(float(weights_P.sum()), 1e-12)

    def _window_draws(self) -> int:
        """Return the number of rows in this window; a whole number of windows makes an epoch."""
        total = self.epoch_draws
        mean_length = sum(int(pool.sum()) for pool in self._lengths) / max(total, 1)
        rows = self._size.tokens / max(mean_length, 1.0)
        rows = rows if self._size.rows is None else min(rows, self._size.rows)
        windows = max(1, round(total / max(rows * self._mixture.window, 1.0)))
        # A difference of rounded running totals: rounding errors of windows do not add up.
        return (self._window + 1) * total // windows - self._window * total // windows

    def _count_draws(self) -> tuple[Ints, Floats]:
        """Return draws and credit per pool after this window.

        Shares become whole rows by largest remainders; the rest is carried over as credit, so
        that even a pool with less than one row per window gets its share over time.
        """
        draws = self._window_draws()
        credit_P = self._credit_P + self.shares_P * draws
        # The tolerance: a sum of shares such as 2.9999999 stands for three whole rows.
        counts_P = np.floor(credit_P + 1e-6).clip(min=0)
        largest_first = np.argsort(-(credit_P - counts_P), kind="stable")
        counts_P[largest_first[: max(0, round(draws - counts_P.sum()))]] += 1
        return self._draws_P + counts_P.astype(np.int64), credit_P - counts_P

    def _plan(self) -> list[Rows]:
        after_P, _ = self._count_draws()
        generator = np.random.default_rng([self._seed, 1, self._window])
        drawn = [
            self._sort_by_length(pool, self._draw(pool, int(first), int(last)), generator)
            for pool, (first, last) in enumerate(zip(self._draws_P, after_P, strict=True))
        ]
        if self._mixture.composition == "mixed":
            return self._cut_mixed(drawn, generator)
        return self._cut_rounds(drawn, generator)

    def _draw(self, pool: int, first: int, last: int) -> Ints:
        """Return rows number ``first`` to ``last`` of the shuffled passes, as (row, pass).

        The order of a pass depends on the seed, the pool and the number of the pass alone, not on
        where windows cut it: a window may end inside a pass and the next one continues it.
        """
        size = int(self._sizes_P[pool])
        if first == last:
            return np.zeros((2, 0), dtype=np.int64)
        passes = range(first // size, (last - 1) // size + 1)
        orders = [
            # The second number keeps this stream apart from the stream that shuffles windows.
            np.random.default_rng([self._seed, 0, pool, number]).permutation(size)
            for number in passes
        ]
        offset = passes[0] * size
        drawn_2M = np.stack([np.concatenate(orders), np.repeat([*passes], size)])
        return drawn_2M[:, first - offset : last - offset]

    def _sort_by_length(self, pool: int, drawn_2n: Ints, generator: np.random.Generator) -> Ints:
        """Return rows by length, equal lengths in random order; as (pool, row, length, pass)."""
        # Shuffled first, then sorted by a stable sort: this breaks ties at random.
        rows_n, passes_n = drawn_2n[:, generator.permutation(drawn_2n.shape[1])]
        lengths_n = self._lengths[pool][rows_n]
        order_n = np.argsort(lengths_n, kind="stable")
        pools_n = np.full(len(rows_n), pool, dtype=np.int64)
        return np.stack([pools_n, rows_n, lengths_n, passes_n])[:, order_n]

    def _cut_mixed(self, drawn: Sequence[Ints], generator: np.random.Generator) -> list[Rows]:
        drawn_4N = np.concatenate(drawn, axis=1)
        drawn_4N = drawn_4N[:, generator.permutation(drawn_4N.shape[1])]
        drawn_4N = drawn_4N[:, np.argsort(drawn_4N[2], kind="stable")]
        batches = _cut(drawn_4N, self._size)
        return [_rows(batches[index]) for index in generator.permutation(len(batches))]

    def _cut_rounds(self, drawn: Sequence[Ints], generator: np.random.Generator) -> list[Rows]:
        """Cut every pool into equally many pieces; round k holds the k-th piece of each."""
        drawn = [pool_4n for pool_4n in drawn if pool_4n.shape[1]]
        # More rounds make smaller pieces: begin with the fewest possible, add until all fit.
        most = max(pool_4n.shape[1] for pool_4n in drawn)
        if self._mixture.composition == "joint":
            most = min(pool_4n.shape[1] for pool_4n in drawn)
        rounds = min(most, max(len(_cut(pool_4n, self._size)) for pool_4n in drawn))
        while not all(self._fits(batch) for batch in chain(*self._rounds(drawn, rounds))):
            if rounds == most:
                raise RecipeError([self._too_small(len(drawn))])
            rounds = min(most, rounds + max(1, rounds // 10))
        cut = self._rounds(drawn, rounds)
        return [_rows(batch) for k in generator.permutation(rounds) for batch in cut[k]]

    def _rounds(self, drawn: Sequence[Ints], rounds: int) -> list[list[Ints]]:
        """Return the batches of every round: one batch of all pools, or one batch per pool."""
        pieces = zip(*(np.array_split(pool_4n, rounds, axis=1) for pool_4n in drawn), strict=True)
        if self._mixture.composition == "joint":
            return [[np.concatenate(each, axis=1)] for each in pieces]
        return [[piece for piece in each if piece.shape[1]] for each in pieces]

    def _fits(self, batch_4B: Ints) -> bool:
        # A single row is a batch however long it is: it cannot be made smaller.
        return batch_4B.shape[1] == 1 or self._size.fits(batch_4B.shape[1], int(batch_4B[2].max()))

    def _too_small(self, pools: int) -> str:
        return (
            f"training: a batch of {self._size} cannot hold one row of each of the {pools} pools, "
            "as joint mixing needs. Raise its tokens or rows, lower max_length, or choose another "
            "mixing."
        )


def _cut(sorted_4N: Ints, size: BatchSize) -> list[Ints]:
    """Cut rows sorted by length into batches, each as large as allowed."""
    lengths = sorted_4N[2].tolist()
    edges = [0]
    for position, longest in enumerate(lengths):
        if position > edges[-1] and not size.fits(position - edges[-1] + 1, longest):
            edges.append(position)
    return [sorted_4N[:, a:b] for a, b in zip(edges, [*edges[1:], len(lengths)], strict=True)]


def _rows(batch_4B: Ints) -> Rows:
    return Rows(batch_4B[0], batch_4B[1], batch_4B[3])
