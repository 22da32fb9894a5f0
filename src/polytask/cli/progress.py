"""A progress bar on a terminal, for work that takes more than two seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_QUIET = 2.0
"""Seconds until the bar appears."""


@contextmanager
def count_rows(text: str, *, hidden: bool = False) -> Iterator[Callable[[int], None]]:
    """Yield a function that counts rows and shows the count on standard error, on a terminal.

    :param hidden: Show nothing.
    """
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    bar = Progress(
        *columns, console=console, transient=True, disable=hidden or not console.is_terminal
    )
    shown = bar.add_task(text)
    began, rows, started = time.monotonic(), 0, False

    def count(more: int) -> None:
        nonlocal rows, started
        rows += more
        if not started and time.monotonic() - began > _QUIET:
            started = True
            bar.start()
        if started:
            bar.update(shown, description=f"{text}: {rows:,} rows")

    try:
        yield count
    finally:
        if started:
            bar.stop()
