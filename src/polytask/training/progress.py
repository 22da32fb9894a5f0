"""The progress of a training: a live display in a terminal, a line every 10 s elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

_SMOOTHING = 0.98
_REFRESHES_PER_SECOND = 2
_SECONDS_BETWEEN_LINES = 10.0
_MOST_TASKS = 8
_WORST_TASKS = 3


class Average:
    """An exponential moving average with bias correction.

    Kingma and Ba, "Adam", ICLR 2015, section 3. https://arxiv.org/abs/1412.6980
    """

    def __init__(self) -> None:
        self._sum = 0.0
        self._weight = 0.0

    def add(self, value: float) -> None:
        """Add a value; ignore one that is not finite, which would never fade."""
        if math.isfinite(value):
            self._sum = _SMOOTHING * self._sum + (1 - _SMOOTHING) * value
            self._weight = _SMOOTHING * self._weight + (1 - _SMOOTHING)

    @property
    def value(self) -> float:
        """The average so far; nan before the first value."""
        return self._sum / self._weight if self._weight else math.nan


class Progress:
    """A display of step, losses, speed, learning rate, padding and the time left.

    :param console: The console; the display is live if it is a terminal, and empty if it is quiet.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._step = 0
        self._share = self._rate = 0.0
        self._first: tuple[float, float] | None = None
        self._losses: dict[str, Average] = {}
        self._tokens, self._padded, self._seconds = Average(), Average(), Average()
        self._line_at = time.monotonic()
        is_live = console.is_interactive and not console.quiet
        self._live = (
            Live(self, console=console, refresh_per_second=_REFRESHES_PER_SECOND, transient=True)
            if is_live
            else None
        )

    def open(self) -> None:
        """Start the live display."""
        if self._live is not None:
            self._live.start()

    def close(self) -> None:
        """Remove the live display."""
        if self._live is not None:
            self._live.stop()

    def update(self, record: Mapping[str, Any]) -> None:
        """Add the record of a finished step."""
        now = time.monotonic()
        self._step, self._share = record["step"], record["share"]
        self._first = self._first or (now, self._share)
        self._rate = record["learning_rate"]
        for task, loss in record["losses"].items():
            self._losses.setdefault(task, Average()).add(loss)
        self._tokens.add(record["tokens"])
        self._padded.add(record["padded"])
        self._seconds.add(record["seconds"])
        if self._live is None and now - self._line_at >= _SECONDS_BETWEEN_LINES:
            self.say(self.line())

    def say(self, text: str) -> None:
        """Print one line, above the live display if there is one."""
        self._line_at = time.monotonic()
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def line(self) -> str:
        """Return the progress as one line."""
        return f"step {self._step} ({100 * self._share:.0f} %)  {self._pace()}  {self._loss_text()}"

    def __rich__(self) -> RenderableType:
        top = Table.grid(padding=(0, 2))
        bar = ProgressBar(1.0, self._share, width=24)
        top.add_row(bar, f"{100 * self._share:.0f} %", f"step {self._step}", self._pace())
        return Group(top, Text(self._loss_text(), overflow="ellipsis", no_wrap=True))

    def _pace(self) -> str:
        parts = [f"lr {self._rate:.1e}"]
        if self._seconds.value > 0 and self._tokens.value > 0:
            parts.append(f"{self._tokens.value / self._seconds.value:,.0f} tokens/s")
        if self._padded.value > 0:
            parts.append(f"padding {100 * (1 - self._tokens.value / self._padded.value):.0f} %")
        return "  ".join([*parts, *self._time_left()])

    def _time_left(self) -> list[str]:
        """Return the estimated time left; only time since the first step of this process counts."""
        if self._first is None or self._share <= self._first[1]:
            return []
        pace = (time.monotonic() - self._first[0]) / (self._share - self._first[1])
        return [f"{timedelta(seconds=round(pace * (1 - self._share)))} left"]

    def _loss_text(self) -> str:
        # list(): the thread of the live display reads while the training adds tasks.
        losses = {task: average.value for task, average in list(self._losses.items())}
        if len(losses) <= _MOST_TASKS:
            return "  ".join(f"{task} {loss:.3f}" for task, loss in losses.items())
        mean = sum(losses.values()) / len(losses)
        worst = sorted(losses, key=lambda task: -losses[task])[:_WORST_TASKS]
        named = "  ".join(f"{task} {losses[task]:.3f}" for task in worst)
        return f"mean of {len(losses)} losses {mean:.3f}, highest: {named}"
