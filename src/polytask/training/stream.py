"""The interface of the source of batches that a training draws from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Protocol

from polytask.core.batch import Batch


class Stream(Protocol):
    """Endless batches, from pools of rows, from environments, or from anywhere else.

    The loader over pools (``data.loader.Loader``) is one stream. Another one may draw rows that depend on
    the model: whatever it remembers is part of its state.
    """

    @property
    def epoch_draws(self) -> int:
        """The number of rows that count as one epoch."""

    @property
    def labelled_together(self) -> Collection[tuple[str, ...]]:
        """The sets of tasks that label a row together."""

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches from where the state stands; each counts as used when it is handed out."""

    def state(self) -> dict[str, Any]:
        """Return what a resumed training needs to draw the same batches from here on, as JSON."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Undo ``state``."""

    def set_rank(self, rank: int, ranks: int, placement: str) -> None:
        """Hand out one part of every batch; the parts of all ranks together are the batch.

        :param placement: The kind of parts: ``rows`` or ``tasks``.
        """

    def set_progress(self, progress: Callable[[], float]) -> None:
        """Take note of how to ask how far the training is, 0 to 1."""

    def observe(self, record: Mapping[str, Any]) -> None:
        """Take note of the record of a finished step."""

    def report(self) -> Mapping[str, Any]:
        """Return what the record of a step says about the stream; nothing where nothing changes."""

    def exclude(self, tasks: frozenset[str]) -> None:
        """Draw no more rows that only these tasks label, as they have stopped."""
