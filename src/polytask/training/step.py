"""One optimiser update from one or more batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import compress

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from polytask.balancing import Balancer, LossBalancer, TaskLosses
from polytask.balancing.engine import MeanLosses
from polytask.balancing.plan import plan
from polytask.core.batch import Batch
from polytask.core.distributed import sum_gradients, sum_over_ranks, world_size
from polytask.core.errors import TrainingError
from polytask.core.partition import Partition
from polytask.modeling import MultiTaskModel
from polytask.modeling.losses import Losses
from polytask.training.loss_parts import LossParts
from polytask.training.loss_scaling import Shares
from polytask.training.penalties import Penalties
from polytask.training.sharding import clip_gradients

PENALTY = "penalty"
"""The key of the architecture's penalty among the numbers it reports."""


@dataclass(frozen=True)
class StepResult:
    """The outcome of one update, over all ranks.

    :param losses: Mean loss of every task present, over all its labels in the step.
    :param weights: Weight that the balancer gave each task present.
    :param gradient_norm: L2 norm of the whole gradient before clipping.
    :param skipped: Tasks left out because their loss was not finite; ``gradient`` if the gradient was.
    :param sharing: Numbers that the architecture reports; its penalty, if any, as ``PENALTY``.
    :param parts: Mean of each named part of a loss that has several, by task.
    """

    losses: dict[str, float]
    weights: dict[str, float]
    gradient_norm: float
    skipped: tuple[str, ...]
    rows: int
    tokens: int
    padded: int
    sharing: dict[str, float] = field(default_factory=dict)
    parts: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass
class Stepper:
    """The objects that every update uses.

    :param autocast: Returns the context of the forward pass.
    :param scaler: Scales the gradients of fp16; disabled for other precisions.
    :param clip: Largest gradient norm; 0 for no limit.
    :param not_finite: Reaction to a loss or gradient that is not finite: ``stop`` or ``skip``.
    :param validation: Batches of validation rows, for methods that need them.
    :param frozen: Returns the parameters that are not updated now. Their gradients are computed,
        so that balancing methods always see the same model, and dropped before clipping.
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
    validation: Iterator[Batch] | None = None
    frozen: Callable[[], Sequence[Parameter]] = tuple

    def __post_init__(self) -> None:
        self._names = list(self.model.trained_tasks)
        self._share = 1.0
        self._penalties = Penalties(self.model, self.partition)
        self.model.tasks_apart = not isinstance(self.balancer, LossBalancer)
        for parameter in self.balancer.parameters():
            parameter.register_hook(self._scale_like_losses)
        self._parameters = [p for group in self.optimiser.param_groups for p in group["params"]]

    def step(self, batches: Sequence[Batch]) -> StepResult:
        """Do one update in which every row of the step has the same weight.

        All ranks must call this together, each with its own part of the rows.

        :raises TrainingError: If a loss or the gradient is not finite and ``not_finite`` is ``stop``.
        """
        self.optimiser.zero_grad(set_to_none=True)
        # scale(), not get_scale(): unscale_ needs the state that the first call creates.
        self.balancer.loss_scale = float(self.scaler.scale(torch.ones((), device=self.device)))
        self.balancer.gather()
        parts = self._plan(batches)
        skipped: set[str] = set()
        losses = self._pass_losses(parts, skipped)
        named = self._parts.means()  # before the validation rows below replace _parts
        if "validation" in self.balancer.needs and self.validation is not None:
            guide = self._plan([next(self.validation)])
            with self.model.unaugmented():
                self._pass_losses([(1, part) for _, part in guide], skipped)
        absent = [place for place, task in enumerate(self._names) if task not in losses]
        observed = self.model.sharing.observe()
        weights_T, norm = torch.zeros(0), math.nan
        if losses:
            weights_T = self._combine_gradients(observed)
            norm = self._descend(skipped, absent)
        updated = math.isfinite(norm)  # else fp16 has overflowed, or the step was left out
        if updated and "losses_after" in self.balancer.needs:
            self._report_losses_after([part for _, part in parts])
        self.balancer.release()  # drops the retained graphs; nothing may be differentiated after
        weights = {task: float(weights_T[self._names.index(task)]) for task in losses}
        counts = torch.tensor([[batch.size, batch.tokens, batch.padded] for batch in batches])
        rows, tokens, padded = sum_over_ranks(counts.sum(0)).tolist()
        return StepResult(
            losses, weights, norm, tuple(sorted(skipped)), rows, tokens, padded, observed, named
        )

    def _plan(self, batches: Sequence[Batch]) -> list[tuple[int, Batch]]:
        alone = self.model.scores_alone
        return plan(batches, self.balancer, self.partition, scores_alone=alone)

    def _pass_losses(
        self, parts: Sequence[tuple[int, Batch]], skipped: set[str]
    ) -> dict[str, float]:
        """Pass the losses of parts to the balancer; return the mean loss of every task."""
        shares = Shares([part for _, part in parts], self.model.trained_tasks, self.device)
        self._parts = LossParts(self.model.loss_parts)
        sums_3T = torch.zeros(3, len(self._names), dtype=torch.float64)
        for sample, part in parts:
            self._share = part.labelled / shares.rows
            sums_3T += self._accumulate(sample, part, shares)
        totals, counted, not_finite = sum_over_ranks(sums_3T).tolist()
        # A sum with nan or infinity is nan or infinity, so after it all ranks agree on who is skipped.
        found = {task: value for task, value in zip(self._names, not_finite, strict=True) if value}
        if found and self.not_finite == "stop":
            listed = ", ".join(f"{task} ({value})" for task, value in found.items())
            raise TrainingError(
                f"the loss is not finite: {listed}. Lower training.learning_rate, check the rows "
                "of that task, or set training.not_finite: skip to leave such batches out."
            )
        skipped.update(found)
        everything = zip(self._names, totals, counted, strict=True)
        return {task: total / share for task, total, share in everything if share}

    def _report_losses_after(self, batches: Sequence[Batch]) -> None:
        """Pass the losses of the same rows after the update to the balancer."""
        self.balancer.gather()
        shares = Shares(batches, self.model.trained_tasks, self.device)
        tally = MeanLosses(len(self._names))
        for batch in batches:
            with torch.no_grad():
                losses = self._losses(batch)
            places = [self._names.index(task) for task in losses]
            tally.add(TaskLosses([*losses.values()], places, shares.of(batch, [*losses])))
        active_t, losses_t = tally.means()
        self.balancer.after(losses_t, active_t)

    def _accumulate(self, sample: int, batch: Batch, shares: Shares) -> Tensor:
        """Pass the losses of one part to the balancer.

        :return: sums_3T: the losses times their shares, the shares, and losses that are not finite.
        """
        losses = self._losses(batch)
        places_t = torch.tensor([*map(self._names.index, losses)], dtype=torch.long)
        values_t = torch.stack([loss.detach() for loss in losses.values()] or [torch.zeros(0)])
        values_t = values_t.flatten().double().cpu()
        finite_t = values_t.isfinite()
        kept = [*compress(losses, finite_t.tolist())]
        places, shares_t = places_t[finite_t].tolist(), shares.of(batch, kept)
        self._parts.add(losses.parts, dict(zip(kept, shares_t.tolist(), strict=True)))
        passed = [losses[task] for task in kept]
        # Validation rows guide the weights only: their penalty is not part of the objective.
        if not (sample and "validation" in self.balancer.needs):
            passed = self._penalties.add(passed, self._share, self.balancer.loss_scale)
        lines = self.model.lines(batch)
        rows = [lines[task] for task in kept]
        # Also without a loss: accumulate may communicate, so all ranks call it equally often.
        self.balancer.accumulate(
            TaskLosses(passed, places, shares_t.to(self.device), sample, rows), self.partition
        )
        sums_3T = torch.zeros(3, len(self._names), dtype=torch.float64)
        sums_3T[0, places] = values_t[finite_t] * shares_t
        sums_3T[1, places] = shares_t.double()
        sums_3T[2, places_t[~finite_t]] = values_t[~finite_t]
        return sums_3T

    def _losses(self, batch: Batch) -> Losses:
        """Return the losses of a batch; none if this rank has no row of it."""
        if not batch.targets:
            return Losses()
        with self.autocast():
            return self.model.losses(batch.to(self.device))

    def _scale_like_losses(self, gradient: Tensor) -> Tensor:
        """Scale a gradient of the balancer's parameters by the share of rows, and for fp16."""
        # Called by a hook, in the middle of a backward pass: _share is then that of the current batch.
        # Every rank computes the same gradient; the shares of all ranks add up to 1.
        return gradient * (self._share * self.scaler.get_scale())

    def _combine_gradients(self, observed: dict[str, float]) -> Tensor:
        """Combine the gradients of all tasks in ``.grad``; return weights_T.

        The balancer resolves first, then its parameters are summed, then the penalty is added:
        each is a collective, so the order is the same on all ranks.
        """
        self._share = 1 / world_size()  # a backward pass in resolve is the same on every rank
        weights_T = self.balancer.resolve(self.partition)
        sum_gradients([*self.balancer.parameters()])
        penalty = self._penalties.apply()
        if penalty is not None:
            observed[PENALTY] = penalty
        return weights_T

    def _descend(self, skipped: set[str], absent: list[int]) -> float:
        """Clip the gradient and update the parameters; return the norm before clipping."""
        for parameter in self.frozen():
            parameter.grad = None  # AdamW then neither moves nor decays it, and keeps no moments
        self.scaler.unscale_(self.optimiser)
        norm = clip_gradients(self._parameters, self.clip or math.inf)
        # With fp16 an overflow is normal: the scaler skips the update and lowers its scale.
        if not self.scaler.is_enabled() and not norm.isfinite():
            if self.not_finite == "stop":
                raise TrainingError(
                    "the gradient is not finite although every loss is. Lower "
                    "training.learning_rate, or set training.not_finite: skip."
                )
            skipped.add("gradient")
            return float(norm)
        learned = [p for p in self.balancer.parameters() if p.shape == (len(self._names),)]
        before = [parameter.detach()[absent] for parameter in learned]
        self.scaler.step(self.optimiser)
        with torch.no_grad():  # AdamW's momentum must not move the weights of absent tasks
            for parameter, kept in zip(learned, before, strict=True):
                parameter[absent] = kept
        self.scaler.update()
        return float(norm)
