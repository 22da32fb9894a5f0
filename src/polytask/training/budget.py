"""How much of its budget a training has used up, and what is due."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from polytask.training.options import TrainingOptions
from polytask.training.step import PENALTY, StepResult

_OBSERVED = 64
"""Numbers of an architecture that the record of a step holds, on average."""


class Budget:
    """Counts steps and rows against epochs or steps; says when validations and checkpoints are due.

    :param options: The budget, and how often to validate and to save.
    :param epoch_rows: Rows drawn in one epoch.
    """

    def __init__(self, options: TrainingOptions, epoch_rows: int) -> None:
        self.options = options
        self.epoch_rows = epoch_rows
        self.step = self.rows = self.tokens = self.padded = self.validations = 0
        self.seconds = 0.0
        self._saved_step = 0
        self._saved_at = self._clock = time.monotonic()

    @property
    def share(self) -> float:
        """Share of the budget that is used up, 0 to 1."""
        return min(1.0, self._share_of(self.step, self.rows))

    def step_share(self, rows: int) -> float:
        """Share of the budget that one step of some rows takes."""
        return self._share_of(1, rows)

    @property
    def epoch(self) -> float:
        """Passes over the training rows so far."""
        return self.rows / max(1, self.epoch_rows)

    @property
    def finished(self) -> bool:
        """Whether the budget is used up."""
        if self.options.steps is not None:
            return self.step >= self.options.steps
        return self.rows >= round(self.options.epochs * self.epoch_rows)

    @property
    def validation_due(self) -> bool:
        """Whether another ``evaluate_every`` epochs are over, or all."""
        due = (self.validations + 1) * self.options.evaluate_every
        return self.finished or self.epoch + 1e-9 >= due

    @property
    def checkpoint_due(self) -> bool:
        """Whether enough steps or minutes have passed since the last checkpoint."""
        if self.options.checkpoint_steps is not None:
            return self.step - self._saved_step >= self.options.checkpoint_steps
        return time.monotonic() - self._saved_at >= 60 * self.options.checkpoint_minutes

    def _share_of(self, steps: int, rows: int) -> float:
        if self.options.steps is not None:
            return steps / self.options.steps
        return rows / max(1.0, self.options.epochs * self.epoch_rows)

    def advance(self, result: StepResult, learning_rate: float) -> dict[str, Any]:
        """Count a step, and return its record."""
        now = time.monotonic()
        seconds, self._clock = now - self._clock, now
        epoch = self.epoch
        self.step += 1
        self.rows += result.rows
        self.tokens += result.tokens
        self.padded += result.padded
        self.seconds += seconds
        sharing = self._kept(result.sharing)
        return {
            "step": self.step,
            "epoch": round(epoch, 4),
            "share": round(self.share, 6),
            "losses": result.losses,
            **({"parts": result.parts} if result.parts else {}),
            "weights": result.weights,
            "gradient_norm": result.gradient_norm,
            "learning_rate": learning_rate,
            "rows": result.rows,
            "tokens": result.tokens,
            "padded": result.padded,
            "seconds": round(seconds, 4),
            **({"sharing": sharing} if sharing else {}),
            **({"skipped": list(result.skipped)} if result.skipped else {}),
        }

    def _kept(self, observed: Mapping[str, float]) -> dict[str, float]:
        """Of few numbers all; of many all now and then and before a validation, else the penalty.

        Sixteen columns that mix at every layer have thousands.
        """
        every = math.ceil(len(observed) / _OBSERVED)
        whole = every < 2 or self.step % every == 1 or self.validation_due
        return {name: number for name, number in observed.items() if whole or name == PENALTY}

    def pause(self) -> None:
        """Leave what has passed since the last step out of the time of the next one."""
        self._clock = time.monotonic()

    def saved(self) -> None:
        """Note that a checkpoint was written."""
        self._saved_step, self._saved_at = self.step, time.monotonic()
        self.pause()

    def state(self) -> dict[str, Any]:
        """The counts."""
        names = ("step", "rows", "tokens", "padded", "seconds", "validations")
        return {name: getattr(self, name) for name in names}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Undo ``state``."""
        for name, value in state.items():
            setattr(self, name, value)
        if not self.finished:  # the last validation of a shorter budget comes between others
            regular = math.floor((self.epoch + 1e-9) / self.options.evaluate_every)
            self.validations = min(self.validations, regular)
        self.saved()
