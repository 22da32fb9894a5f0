"""The three kinds of balancing methods.

A method implements one pure function:

* ``LossBalancer``     losses_t    -> objective    (weighting, scalarisation)
* ``GramianBalancer``  gramian_tt  -> weights_t    (methods that need only inner products)
* ``JacobianBalancer`` jacobian_tP -> gradient_P   (methods that need every coordinate)

These classes are abstract, and all of their subclasses are final. ``polytask.balancing.engine``
computes the task gradients, also in several processes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal, final

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from typing_extensions import override

from polytask.balancing.balancer import LossMethod, balancers
from polytask.balancing.engine import (
    PROVIDERS,
    Exact,
    Layout,
    Recorder,
    TaskGradients,
    TaskLosses,
    agrees,
)
from polytask.balancing.engine.base import inner_products
from polytask.balancing.engine.cost import Cost, choose_cheapest, count_costs, total_memory
from polytask.balancing.gradient_balancer import GradientBalancer
from polytask.balancing.loss_balancer import LossBalancer
from polytask.core.distributed import sum_over_ranks, world_size
from polytask.core.errors import RecipeError, TrainingError
from polytask.core.partition import Partition

__all__ = ["GramianBalancer", "JacobianBalancer", "LossBalancer", "balancers"]

Provider = Literal["auto", "exact", "grouped", "streamed", "adapters", "features", "last_layer"]


class GramianBalancer(GradientBalancer):
    """Base of methods that weigh task gradients by their inner products only.

    :param gradients: How to compute task gradients. ``grouped`` forms them layer by layer from one
        backward pass, if every row is read by one task. ``exact`` takes one pass per task and keeps
        all gradients. ``streamed`` keeps the gradients of one stretch of the network at a time.
        ``adapters`` uses low-rank factors beside frozen matrices, and is exact if nothing else is
        trained. ``features`` and ``last_layer`` use a part of the gradients, an approximation.
        ``auto`` takes the cheapest exact way, counted in backward passes and numbers moved:
        ``grouped`` if it agrees with autograd, else ``exact``, or ``streamed`` if all gradients would
        need more than a quarter of the memory.
    :param every: Number of steps between two computations of the weights.
    :param losses: A loss method that weighs the losses before they are differentiated.
    """

    cost = "a gradient per task, T x T numbers of them"
    last_T: Tensor

    def __init__(
        self,
        num_tasks: int,
        /,
        *,
        gradients: Provider = "auto",
        every: PositiveInt = 1,
        losses: LossMethod | None = None,
    ) -> None:
        super().__init__(num_tasks, losses)
        self.every = every
        self._chosen = gradients
        self._costs: dict[str, Cost] = {"exact": Cost(1, 0, 0)}
        self._room = 0
        if self.needs and gradients not in ("auto", "exact"):
            raise RecipeError(
                [
                    f"balancing.gradients: found {gradients!r}, expected 'exact': this method "
                    "compares the gradients of two samples of rows."
                ]
            )
        self.register_buffer("last_T", torch.ones(num_tasks))

    @abstractmethod
    def weights(self, gramian_TT: Tensor) -> Tensor:
        """Return one weight for each of the tasks in ``active_t``."""

    @override
    @final
    def attach(self, model: nn.Module) -> None:
        super().attach(model)
        watched = self.shards is None and not self.needs
        if watched and self._chosen in ("auto", "grouped", "adapters"):
            self._recorder = Recorder(model, layers=self._chosen != "adapters")

    @override
    @final
    def prepare(self, partition: Partition, *, exclusive_rows: bool, tokens: int = 0) -> Layout:
        single = world_size() == 1 and not self.needs
        activations = None
        if single and self._recorder is not None and self._recorder.covers(partition.shared):
            activations = tokens * self._recorder.width
        self._costs = count_costs(
            self.num_tasks, partition.shared, exclusive_rows=exclusive_rows, activations=activations
        )
        if not single:
            del self._costs["streamed"]
        if self._chosen == "grouped" and "grouped" not in self._costs:
            raise RecipeError(
                [
                    "balancing.gradients: found 'grouped', which needs rows that one task reads, "
                    "shared parameters that belong to one linear, embedding or norm module each, a "
                    "model that is not compiled, and one process. Choose 'auto'."
                ]
            )
        low_rank = set() if self._recorder is None else self._recorder.low_rank
        if self._chosen == "adapters" and low_rank.isdisjoint(map(id, partition.shared)):
            raise RecipeError(
                [
                    "balancing.gradients: found 'adapters', but no trained low-rank matrix beside a "
                    "frozen one among the shared parameters, or a compiled model. Freeze the base of "
                    "the model, or choose 'auto'. In a custom loop, call attach after freezing."
                ]
            )
        self._room = total_memory(partition.shared[0].device) if partition.shared else 0
        return PROVIDERS[self._kind].layout

    @property
    @override
    def _kind(self) -> str:
        if int(self.draws) % self.every:
            return "weighted"
        return choose_cheapest(self._costs, self._room) if self._chosen == "auto" else self._chosen

    @override
    def _inspect(self, losses: TaskLosses, partition: Partition) -> None:
        """Compare grouped gradients with autograd's before they are used for the first time."""
        recorder = self._recorder
        if self._kind != "grouped" or recorder is None or recorder.is_trusted:
            return
        recorder.is_trusted = agrees(recorder, losses, partition)
        if recorder.is_trusted:
            return
        if self._chosen == "grouped":
            raise TrainingError(
                "balancing.gradients: found 'grouped', whose gradients differ from autograd for this "
                "model: its rows depend on each other, or hooks do not see all uses of a layer. "
                "Choose 'exact'."
            )
        self._recorder = None
        del self._costs["grouped"]

    @override
    @final
    def _combine(
        self, samples: Sequence[TaskGradients], inner_t: Tensor, partition: Partition
    ) -> Tensor:
        tasks = self.active_t.tolist()
        weights_t, finite = self.last_T[self.active_t], True
        if self._kind != "weighted":
            gramian_tt = self._gramian(samples, tasks) / self.loss_scale**2
            scale_s = inner_t.to(gramian_tt).repeat(len(gramian_tt) // len(tasks))
            gramian_tt = scale_s[:, None] * gramian_tt * scale_s
            # If fp16 has overflowed, the scaler will skip the step. State must not take in NaN.
            finite = bool(gramian_tt.isfinite().all())
            weights_t = self.weights(gramian_tt) if finite else torch.ones_like(weights_t)
        if finite:
            self.last_T[self.active_t] = weights_t.to(self.last_T)
            self.draws += 1
        weights_t = weights_t.to(self.last_T) * inner_t.to(self.last_T)
        # Validation rows decide on weights only: the update takes the training rows, sample 0.
        for sample in samples[:1] if "validation" in self.needs else samples:
            sample.weigh(weights_t, tasks, partition)
        return weights_t

    def _gramian(self, samples: Sequence[TaskGradients], tasks: Sequence[int]) -> Tensor:
        if not self.needs & {"halves", "validation"}:
            return samples[0].gramian(tasks)
        first_tp, second_tp = [s.shard(tasks) for s in samples if isinstance(s, Exact)]
        if "halves" in self.needs:
            # The halves add up to the step's gradient: each is half the mean over its rows, so the
            # product of the means is 4 times as large.
            return 4 * sum_over_ranks(inner_products(first_tp, second_tp))
        both_sp = torch.cat([first_tp, second_tp])
        return sum_over_ranks(inner_products(both_sp))


class JacobianBalancer(GradientBalancer):
    """Base of methods that combine task gradients coordinate by coordinate.

    A task's gradient is zero at parameters that the task does not reach.

    :param losses: A loss method that weighs the losses before they are differentiated.
    """

    cost = "a gradient per task, all T x P numbers of them"

    def __init__(self, num_tasks: int, /, *, losses: LossMethod | None = None) -> None:
        super().__init__(num_tasks, losses)

    @override
    @final
    def prepare(self, partition: Partition, *, exclusive_rows: bool, tokens: int = 0) -> Layout:
        return Exact.layout

    @property
    @override
    def _kind(self) -> str:
        return "exact"

    @abstractmethod
    def combine(self, jacobian_TP: Tensor) -> Tensor:
        """Return the gradient of the shared parameters, gradient_P, for the tasks in ``active_t``."""

    @override
    @final
    def _combine(
        self, samples: Sequence[TaskGradients], inner_t: Tensor, partition: Partition
    ) -> Tensor:
        [sample] = [s for s in samples if isinstance(s, Exact)]
        jacobian_tP = sum_over_ranks(sample.jacobian(self.active_t.tolist()))
        if self.inner is not None or self.loss_scale != 1:
            jacobian_tP = jacobian_tP * (inner_t / self.loss_scale).to(jacobian_tP)[:, None]
        finite = bool(jacobian_tP.sum().isfinite())
        gradient_P = self.combine(jacobian_tP) if finite else jacobian_tP.sum(0)
        self.draws += finite
        sample.write(gradient_P * self.loss_scale, partition)
        return inner_t
