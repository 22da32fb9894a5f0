"""One optimiser update from one or more batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer

from polytask.balancing import Balancer
from polytask.core.batch import Batch
from polytask.core.errors import TrainingError
from polytask.core.partition import Partition
from polytask.modeling import MultiTaskModel


@dataclass(frozen=True)
class StepResult:
    """What one update did.

    :param losses: Mean loss of every task present, over all its labels in the step.
    :param weights: Weight that the balancer gave each of them.
    :param gradient_norm: Norm of the whole gradient before clipping.
    :param skipped: Tasks whose loss or gradient was not finite and was left out.
    """

    losses: dict[str, float]
    weights: dict[str, float]
    gradient_norm: float
    skipped: tuple[str, ...]
    rows: int
    tokens: int
    padded: int


@dataclass
class Stepper:
    """Everything an update needs besides its batches.

    :param autocast: Makes the context of the forward pass.
    :param scaler: Scales the gradients of fp16; disabled for other precisions.
    :param clip: Largest gradient norm; 0 for no limit.
    :param not_finite: ``stop`` or ``skip``.
    """

    model: MultiTaskModel
    balancer: Balancer
    partition: Partition
    optimiser: Optimizer
    autocast: Callable[[], AbstractContextManager[object]]
    scaler: torch.amp.GradScaler
    device: torch.device
    clip: float
    not_finite: str

    def __post_init__(self) -> None:
        self._names = list(self.model.tasks)
        self._share = 1.0
        for parameter in self.balancer.parameters():
            parameter.register_hook(self._like_the_model)
        self._parameters = [p for group in self.optimiser.param_groups for p in group["params"]]

    def step(self, batches: Sequence[Batch]) -> StepResult:
        """Do one update: every row of the step counts the same, with all the labels it has.

        :raises TrainingError: If a loss or the gradient is not finite and the policy is to stop.
        """
        self.optimiser.zero_grad(set_to_none=True)
        rows = sum(batch.size for batch in batches)
        sums: dict[str, float] = {}
        counts: dict[str, int] = {}
        skipped: set[str] = set()
        for batch in batches:
            for task, (loss, labelled) in self._accumulate(batch, rows, skipped).items():
                sums[task] = sums.get(task, 0.0) + loss * labelled
                counts[task] = counts.get(task, 0) + labelled
        losses = {task: total / counts[task] for task, total in sums.items()}
        absent = [place for place, task in enumerate(self._names) if task not in losses]
        weights_T, norm = self._update(skipped, absent) if losses else (torch.zeros(0), math.nan)
        weights = {task: float(weights_T[self._names.index(task)]) for task in losses}
        tokens, padded = sum(b.tokens for b in batches), sum(b.padded for b in batches)
        return StepResult(losses, weights, norm, tuple(sorted(skipped)), rows, tokens, padded)

    def _accumulate(
        self, batch: Batch, rows: int, skipped: set[str]
    ) -> dict[str, tuple[float, int]]:
        """Hand the losses of one batch to the balancer; return each with its number of rows."""
        self._share = batch.size / rows
        with self.autocast():
            losses = self.model.losses(batch.to(self.device))
        values = dict(zip(losses, torch.stack([*losses.values()]).tolist(), strict=True))
        broken = [task for task, value in values.items() if not math.isfinite(value)]
        if broken and self.not_finite == "stop":
            found = ", ".join(f"{task} ({values[task]})" for task in broken)
            raise TrainingError(
                f"the loss is not finite: {found}. Lower training.learning_rate, look at the rows "
                "of that task, or set training.not_finite: skip to leave such batches out."
            )
        skipped.update(broken)
        kept = {task: loss for task, loss in losses.items() if task not in broken}
        labelled = {task: len(batch.targets[task].rows_b) for task in kept}
        if kept:
            share_t = torch.tensor([labelled[task] / rows for task in kept])
            self._hand_over(kept, share_t.to(self.device))
        return {task: (values[task], labelled[task]) for task in kept}

    def _hand_over(self, losses: dict[str, Tensor], share_t: Tensor) -> None:
        """The balancer sees mean losses; their gradients count by the share of labelled rows."""
        losses_t = torch.stack([*losses.values()])
        scale_t = share_t * self.scaler.get_scale()
        losses_t.register_hook(lambda gradient_t: gradient_t * scale_t)
        active_t = torch.tensor([self._names.index(task) for task in losses])
        self.balancer.accumulate(losses_t, self.partition, active_t)

    def _like_the_model(self, gradient: Tensor) -> Tensor:
        """Gradients of the balancer's own parameters: a batch counts by its rows; scaled for fp16."""
        return gradient * (self._share * self.scaler.get_scale())

    def _update(self, skipped: set[str], absent: list[int]) -> tuple[Tensor, float]:
        weights_T = self.balancer.resolve(self.partition)
        penalty = self.model.sharing.penalty()
        if penalty is not None:
            self.scaler.scale(penalty).backward()
        self.scaler.unscale_(self.optimiser)
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self.clip or math.inf)
        if not self.scaler.is_enabled() and not norm.isfinite():
            if self.not_finite == "stop":
                raise TrainingError(
                    "the gradient is not finite although every loss is. Lower "
                    "training.learning_rate, or set training.not_finite: skip."
                )
            skipped.add("gradient")
            return weights_T, float(norm)
        learned = [p for p in self.balancer.parameters() if p.shape == (len(self._names),)]
        before = [parameter.detach()[absent] for parameter in learned]
        self.scaler.step(self.optimiser)
        with torch.no_grad():  # momentum must not move what belongs to absent tasks
            for parameter, kept in zip(learned, before, strict=True):
                parameter[absent] = kept
        self.scaler.update()
        return weights_T, float(norm)
