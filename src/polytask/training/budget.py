"""The used share of the training budget, and which validation or checkpoint is due."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from polytask.training.options import TrainingOptions
from polytask.training.step import PENALTY, StepResult

_NUMBERS_PER_STEP = 64
"""Numbers of an architecture that the record of a step holds on average."""


class Budget:
    """The counts of steps and rows; they decide when validations and checkpoints are due.

    :param options: The budget in epochs or steps, and how often to validate and save.
    :param epoch_rows: Number of rows drawn in one epoch.
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
        """The used share of the budget, 0 to 1."""
        return min(1.0, self._share_of(self.step, self.rows))

    def step_share(self, rows: int) -> float:
        """Return the share of the budget that one step of ``rows`` rows takes."""
        return self._share_of(1, rows)

    @property
    def epoch(self) -> float:
        """Passes over the training rows so far."""
        return self.rows / max(1, self.epoch_rows)

    @property
    def finished(self) -> bool:
        """True if the budget is used up."""
        if self.options.steps is not None:
            return self.step >= self.options.steps
        return self.rows >= round(self.options.epochs * self.epoch_rows)

    @property
    def validation_due(self) -> bool:
        """True if another ``evaluate_every`` epochs, or the whole budget, are over."""
        due = (self.validations + 1) * self.options.evaluate_every
        # 1e-9: a multiple of a fraction such as 0.1 may be rounded just above the exact number.
        return self.finished or self.epoch + 1e-9 >= due

    @property
    def checkpoint_due(self) -> bool:
        """True if enough steps or minutes have passed since the last checkpoint."""
        if self.options.checkpoint_steps is not None:
            return self.step - self._saved_step >= self.options.checkpoint_steps
        return time.monotonic() - self._saved_at >= 60 * self.options.checkpoint_minutes

    def _share_of(self, steps: int, rows: int) -> float:
        if self.options.steps is not None:
            return steps / self.options.steps
        return rows / max(1.0, self.options.epochs * self.epoch_rows)

    def advance(self, result: StepResult, learning_rate: float) -> dict[str, Any]:
        """Count a step and return its record."""
        now = time.monotonic()
        seconds, self._clock = now - self._clock, now
        epoch = self.epoch
        self.step += 1
        self.rows += result.rows
        self.tokens += result.tokens
        self.padded += result.padded
        self.seconds += seconds
        sharing = self._select_numbers(result.sharing)
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

    def _select_numbers(self, observed: Mapping[str, float]) -> dict[str, float]:
        """Return all numbers of an architecture that has few of them.

        Of many, return all at regular steps and before a validation, and else the penalty alone:
        sixteen columns that mix at every layer have thousands.
        """
        every = math.ceil(len(observed) / _NUMBERS_PER_STEP)
        whole = every < 2 or self.step % every == 1 or self.validation_due
        return {name: number for name, number in observed.items() if whole or name == PENALTY}

    def pause(self) -> None:
        """Exclude the time since the last step from the time of the next step."""
        self._clock = time.monotonic()

    def record_save(self) -> None:
        """Note that a checkpoint was written."""
        self._saved_step, self._saved_at = self.step, time.monotonic()
        self.pause()

    def state(self) -> dict[str, Any]:
        """Return the counts."""
        names = ("step", "rows", "tokens", "padded", "seconds", "validations")
        return {name: getattr(self, name) for name in names}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the counts that ``state`` returned."""
        for name, value in state.items():
            setattr(self, name, value)
        # A shorter budget ended with a validation between the regular ones. If the budget has been
        # extended since, it must not count, or the next regular validation would be left out.
        if not self.finished:
            regular = math.floor((self.epoch + 1e-9) / self.options.evaluate_every)
            self.validations = min(self.validations, regular)
        self.record_save()
