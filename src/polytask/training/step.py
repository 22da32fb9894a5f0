"""One optimiser update from one or more batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
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
"""What the own term of an architecture is called among the numbers that are observed."""


@dataclass(frozen=True)
class StepResult:
    """What one update did, over all ranks.

    :param losses: Mean loss of every task present, over all its labels in the step.
    :param weights: Weight that the balancer gave each of them.
    :param gradient_norm: Norm of the whole gradient before clipping.
    :param skipped: Tasks whose loss or gradient was not finite and was left out.
    :param sharing: What the architecture observed; its own term as ``PENALTY``, if it has one.
    :param parts: The means of the named parts of losses that have several, by task.
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
    """Everything an update needs besides its batches.

    :param autocast: Makes the context of the forward pass.
    :param scaler: Scales the gradients of fp16; disabled for other precisions.
    :param clip: Largest gradient norm; 0 for no limit.
    :param not_finite: ``stop`` or ``skip``.
    :param validation: Batches of validation rows, for methods that need them.
    :param frozen: The parameters that are not updated now. Their gradients are computed, so that
        balancing methods see the same model throughout, and dropped before clipping.
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
            parameter.register_hook(self._like_the_model)
        self._parameters = [p for group in self.optimiser.param_groups for p in group["params"]]

    def step(self, batches: Sequence[Batch]) -> StepResult:
        """Do one update: every row of the step counts the same, with all the labels it has.

        :raises TrainingError: If a loss or the gradient is not finite and the policy is to stop.
        """
        self.optimiser.zero_grad(set_to_none=True)
        self.balancer.loss_scale = float(self.scaler.scale(torch.ones((), device=self.device)))
        self.balancer.gather()
        parts = self._plan(batches)
        skipped: set[str] = set()
        losses = self._present(parts, skipped)
        named = self._parts.means()
        if "validation" in self.balancer.needs and self.validation is not None:
            guide = self._plan([next(self.validation)])
            with self.model.unaugmented():
                self._present([(1, part) for _, part in guide], skipped)
        absent = [place for place, task in enumerate(self._names) if task not in losses]
        observed = self.model.sharing.observe()
        weights_T, norm = torch.zeros(0), math.nan
        if losses:
            weights_T = self._gradients(observed)
            norm = self._update(skipped, absent)
        updated = math.isfinite(norm)  # else fp16 has overflowed, or the step was left out
        if updated and "losses_after" in self.balancer.needs:
            self._look_again([part for _, part in parts])
        self.balancer.release()
        weights = {task: float(weights_T[self._names.index(task)]) for task in losses}
        counts = torch.tensor([[batch.size, batch.tokens, batch.padded] for batch in batches])
        rows, tokens, padded = sum_over_ranks(counts.sum(0)).tolist()
        return StepResult(
            losses, weights, norm, tuple(sorted(skipped)), rows, tokens, padded, observed, named
        )

    def _plan(self, batches: Sequence[Batch]) -> list[tuple[int, Batch]]:
        alone = self.model.scores_alone
        return plan(batches, self.balancer, self.partition, scores_alone=alone)

    def _present(self, parts: Sequence[tuple[int, Batch]], skipped: set[str]) -> dict[str, float]:
        """Hand the losses of parts to the balancer; return the mean loss of every task."""
        shares = Shares([part for _, part in parts], self.model.trained_tasks, self.device)
        self._parts = LossParts(self.model.loss_parts)
        sums_3T = torch.zeros(3, len(self._names), dtype=torch.float64)
        for sample, part in parts:
            self._share = part.labelled / shares.rows
            sums_3T += self._accumulate(sample, part, shares)
        totals, counted, broken = sum_over_ranks(sums_3T).tolist()
        found = {task: value for task, value in zip(self._names, broken, strict=True) if value}
        self._judge(found)
        skipped.update(found)
        everything = zip(self._names, totals, counted, strict=True)
        return {task: total / share for task, total, share in everything if share}

    def _judge(self, broken: Mapping[str, float]) -> None:
        if broken and self.not_finite == "stop":
            found = ", ".join(f"{task} ({value})" for task, value in broken.items())
            raise TrainingError(
                f"the loss is not finite: {found}. Lower training.learning_rate, look at the rows "
                "of that task, or set training.not_finite: skip to leave such batches out."
            )

    def _look_again(self, batches: Sequence[Batch]) -> None:
        """Tell the balancer the losses of the same rows after the update."""
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
        """Hand the losses of one part to the balancer; it is told of every part on every rank.

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
        handed = [losses[task] for task in kept]
        if not (sample and "validation" in self.balancer.needs):
            handed = self._penalties.add(handed, self._share, self.balancer.loss_scale)
        lines = self.model.lines(batch)
        rows = [lines[task] for task in kept]
        self.balancer.accumulate(
            TaskLosses(handed, places, shares_t.to(self.device), sample, rows), self.partition
        )
        sums_3T = torch.zeros(3, len(self._names), dtype=torch.float64)
        sums_3T[0, places] = values_t[finite_t] * shares_t
        sums_3T[1, places] = shares_t.double()
        sums_3T[2, places_t[~finite_t]] = values_t[~finite_t]
        return sums_3T

    def _losses(self, batch: Batch) -> Losses:
        """The losses of a batch; none if this rank has none of its rows."""
        if not batch.targets:
            return Losses()
        with self.autocast():
            return self.model.losses(batch.to(self.device))

    def _like_the_model(self, gradient: Tensor) -> Tensor:
        """Gradients of the balancer's own parameters: a batch counts by its rows; scaled for fp16.

        All ranks come to the same gradient, so each takes the share of its own rows.
        """
        return gradient * (self._share * self.scaler.get_scale())

    def _gradients(self, observed: dict[str, float]) -> Tensor:
        """Bring the gradients of the update together; return weights_T."""
        self._share = 1 / world_size()
        weights_T = self.balancer.resolve(self.partition)
        sum_gradients([*self.balancer.parameters()])
        penalty = self._penalties.apply()
        if penalty is not None:
            observed[PENALTY] = penalty
        return weights_T

    def _update(self, skipped: set[str], absent: list[int]) -> float:
        """Clip and descend; return the norm of the gradient."""
        for parameter in self.frozen():
            parameter.grad = None  # AdamW then neither moves nor decays it, and keeps no moments
        self.scaler.unscale_(self.optimiser)
        norm = clip_gradients(self._parameters, self.clip or math.inf)
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
        with torch.no_grad():  # momentum must not move what belongs to absent tasks
            for parameter, kept in zip(learned, before, strict=True):
                parameter[absent] = kept
        self.scaler.update()
        return float(norm)
