"""The interface of a source of training batches."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Protocol

from polytask.core.batch import Batch


class Stream(Protocol):
    """An endless source of batches: pools of rows, environments, or anything else.

    The loader over pools (``data.loader.Loader``) is one stream. Another one may draw rows that depend on
    the model; its memory is then part of its state.
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
        """Restore what ``state`` returned."""

    def set_rank(self, rank: int, ranks: int, placement: str) -> None:
        """Yield only this rank's part of every batch from now on.

        :param placement: How a batch is divided: by ``rows`` or ``tasks``.
        """

    def set_progress(self, progress: Callable[[], float]) -> None:
        """Keep a function that returns the progress of the training, 0 to 1."""

    def observe(self, record: Mapping[str, Any]) -> None:
        """Receive the record of a finished step."""

    def report(self) -> Mapping[str, Any]:
        """Return entries for the record of a step; empty if nothing changes."""

    def exclude(self, tasks: frozenset[str]) -> None:
        """Draw no more rows that only these stopped tasks label."""
