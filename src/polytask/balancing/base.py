"""The three shapes of a balancing method.

Each implements one pure function of small tensors:

* ``LossBalancer``     losses_t    -> objective    (weighting, scalarisation)
* ``GramianBalancer``  gramian_tt  -> weights_t    (anything decided by inner products)
* ``JacobianBalancer`` jacobian_tP -> gradient_P   (anything that needs every coordinate)

They are abstract, and every class below them is final. How task gradients are come by, also in
several processes, is the business of ``polytask.balancing.engine``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from polytask.balancing.engine import (
    PROVIDERS,
    Exact,
    Layout,
    Recorder,
    Tally,
    TaskGradients,
    TaskLosses,
    agrees,
)
from polytask.balancing.engine.base import add_gradients, differentiate, inner_products
from polytask.balancing.engine.processes import sum_gradients, sum_over_ranks, world_size
from polytask.balancing.interface import Balancer
from polytask.core.errors import RecipeError, TrainingError
from polytask.core.partition import Partition
from polytask.core.registry import Registry

Provider = Literal["auto", "exact", "grouped", "streamed", "features", "last_layer"]

balancers: Registry[Balancer] = Registry("balancing", Balancer)


class LossBalancer(Balancer):
    """Combines the losses before differentiating, so a step costs one backward pass."""

    cost = "one backward pass"

    def __init__(self, num_tasks: int, /) -> None:
        super().__init__(num_tasks)
        self._weights_T = torch.zeros(num_tasks)
        self._tally = Tally(num_tasks)

    @abstractmethod
    def objective(self, losses_T: Tensor) -> Tensor:
        """Return the scalar to minimise, for the tasks in ``active_t``."""

    @final
    def weigh(self, active_t: Tensor, losses_t: Tensor) -> Tensor:
        """The derivative of the objective by each loss, weights_t.

        Parameters of the method itself get their gradient.
        """
        self.active_t = active_t
        losses_t = losses_t.detach().requires_grad_()
        with self.drawing():
            self.objective(losses_t).backward()
        weights_t = torch.zeros_like(losses_t) if losses_t.grad is None else losses_t.grad
        self._weights_T[active_t] = weights_t.to(self._weights_T)
        return weights_t

    @override
    @final
    def accumulate(self, losses: TaskLosses, partition: Partition) -> None:
        self._tally.add(losses)
        weights_T = torch.zeros(self.num_tasks, device=losses.scale_t.device)
        active_t, losses_t = Tally(self.num_tasks).add(losses).means()
        if len(active_t):
            weights_T[active_t] = self.weigh(active_t, losses_t).to(weights_T)
        parameters = [*partition.shared, *partition.private]
        if losses.tasks:
            scale_t = losses.scale_t * weights_T[[*losses.tasks]] * self.loss_scale
            add_gradients(parameters, differentiate(losses.values, scale_t, parameters))

    @override
    @final
    def resolve(self, partition: Partition) -> Tensor:
        self.active_t, self.losses_t = self._tally.means()
        self._tally = Tally(self.num_tasks)
        sum_gradients([*partition.shared, *partition.private])
        return self.finish()

    @final
    def finish(self) -> Tensor:
        """End a step; return weights_T."""
        self.draws += 1
        weights_T, self._weights_T = self._weights_T, torch.zeros(self.num_tasks)
        return weights_T


class _GradientBalancer(Balancer):
    """Collects one gradient per task, adding up over the batches of a step."""

    def __init__(self, num_tasks: int, losses: str | dict[str, Any] | None) -> None:
        super().__init__(num_tasks)
        self.inner = None if losses is None else _loss_method(losses, num_tasks)
        self._tally = Tally(num_tasks)
        self._samples: dict[int, TaskGradients] = {}
        self._providers: dict[tuple[str, int], TaskGradients] = {}  # they keep their buffers
        self._recorder: Recorder | None = None

    @property
    @abstractmethod
    def _kind(self) -> str:
        """The provider of this step."""

    def _inspect(self, losses: TaskLosses, partition: Partition) -> None:
        """See whether the way of coming by gradients can be used."""

    @abstractmethod
    def _combine(
        self, samples: Sequence[TaskGradients], inner_t: Tensor, partition: Partition
    ) -> Tensor:
        """Fill ``.grad`` of the shared parameters for the tasks in ``active_t``.

        :param inner_t: What the losses are weighed by before.
        :return: weights_t, with those.
        """

    @override
    @final
    def accumulate(self, losses: TaskLosses, partition: Partition) -> None:
        if losses.sample and "validation" in self.needs:
            partition = Partition(partition.shared, [])  # heads do not learn from these rows
        else:
            self._tally.add(losses)
        scale_t = losses.scale_t * self.loss_scale
        self._inspect(losses, partition)
        if losses.sample not in self._samples:
            place = (self._kind, losses.sample)
            if place not in self._providers:
                self._providers[place] = PROVIDERS[self._kind](self._recorder)
            self._samples[losses.sample] = self._providers[place]
        self._samples[losses.sample].add(replace(losses, scale_t=scale_t), partition)

    @override
    @final
    def resolve(self, partition: Partition) -> Tensor:
        self.active_t, self.losses_t = self._tally.means()
        samples = [self._samples[sample] for sample in sorted(self._samples)]
        self._samples, self._tally = {}, Tally(self.num_tasks)
        weights_T = torch.zeros(self.num_tasks)
        if not len(self.active_t):
            return weights_T
        inner_t = torch.ones_like(self.losses_t)
        if self.inner is not None:
            inner_t = self.inner.weigh(self.active_t, self.losses_t)
            self.inner.finish()
        with self.drawing():
            weights_t = self._combine(samples, inner_t, partition)
        sum_gradients(partition.private)
        for sample in samples:
            sample.forget()
        self.draws += 1
        weights_T[self.active_t] = weights_t.to(weights_T)
        return weights_T


class GramianBalancer(_GradientBalancer):
    """Weighs task gradients by looking at their inner products only.

    :param gradients: How task gradients are come by. ``grouped`` forms them layer by layer from one
        backward pass, where every row is read by one task; ``exact`` takes a pass per task and
        keeps all of them, ``streamed`` never more than those of one stretch of the network.
        ``features`` and ``last_layer`` look at a part of them, and are approximations. ``auto`` is
        ``grouped`` where that has been seen to give what autograd gives, and else ``exact``.
    :param every: Decide on weights every so many steps, and use them until the next time.
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
        every: int = 1,
        losses: str | dict[str, Any] | None = None,
    ) -> None:
        super().__init__(num_tasks, losses)
        self.every = every
        self._chosen = gradients
        self._alone = False
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
        if self._chosen in ("auto", "grouped") and not self.needs:
            self._recorder = Recorder(model)

    @override
    @final
    def prepare(self, partition: Partition, *, rows_alone: bool) -> Layout:
        self._alone = (
            rows_alone
            and self._recorder is not None
            and self._recorder.covers(partition.shared)
            and world_size() == 1
        )
        if self._chosen == "grouped" and not self._alone:
            raise RecipeError(
                [
                    "balancing.gradients: 'grouped' was asked for, but it cannot be used here: every "
                    "row must be read by one task, every shared parameter belong to one linear, "
                    "embedding or layer-norm module, the model not be compiled, and there be one "
                    "process. Choose 'auto'."
                ]
            )
        return PROVIDERS[self._kind].layout

    @property
    @override
    def _kind(self) -> str:
        if int(self.draws) % self.every:
            return "weighted"
        if self._chosen in ("auto", "grouped"):
            return "grouped" if self._alone else "exact"
        return self._chosen

    @override
    def _inspect(self, losses: TaskLosses, partition: Partition) -> None:
        """Before grouped gradients are used for the first time, compare them with autograd's."""
        recorder = self._recorder
        if self._kind != "grouped" or recorder is None or recorder.trusted:
            return
        recorder.trusted = agrees(recorder, losses, partition)
        if recorder.trusted:
            return
        if self._chosen == "grouped":
            raise TrainingError(
                "grouped task gradients are not those of autograd for this model: its rows are not "
                "independent, or a layer is used in a way that is not seen. Set "
                "balancing.gradients: exact."
            )
        self._recorder, self._alone = None, False

    @override
    @final
    def _combine(
        self, samples: Sequence[TaskGradients], inner_t: Tensor, partition: Partition
    ) -> Tensor:
        tasks = self.active_t.tolist()
        if self._kind != "weighted":
            gramian_tt = self._gramian(samples, tasks) / self.loss_scale**2
            scale_s = inner_t.to(gramian_tt).repeat(len(gramian_tt) // len(tasks))
            gramian_tt = scale_s[:, None] * gramian_tt * scale_s
            finite = bool(gramian_tt.isfinite().all())  # else fp16 has overflowed: no step is made
            weights_t = self.weights(gramian_tt) if finite else torch.ones(len(tasks))
            self.last_T[self.active_t] = weights_t.to(self.last_T)
        weights_t = self.last_T[self.active_t] * inner_t.to(self.last_T)
        for sample in samples[:1] if "validation" in self.needs else samples:
            sample.weigh(weights_t, tasks, partition)
        return weights_t

    def _gramian(self, samples: Sequence[TaskGradients], tasks: Sequence[int]) -> Tensor:
        if not self.needs & {"halves", "validation"}:
            return samples[0].gramian(tasks)
        first_tp, second_tp = [s.shard(tasks) for s in samples if isinstance(s, Exact)]
        if "halves" in self.needs:
            return sum_over_ranks(inner_products(first_tp, second_tp))
        both_sp = torch.cat([first_tp, second_tp])
        return sum_over_ranks(inner_products(both_sp))


class JacobianBalancer(_GradientBalancer):
    """Combines task gradients coordinate by coordinate.

    A task that does not reach a parameter has zeros there.

    :param losses: A loss method that weighs the losses before they are differentiated.
    """

    cost = "a gradient per task, all T x P numbers of them"

    def __init__(self, num_tasks: int, /, *, losses: str | dict[str, Any] | None = None) -> None:
        super().__init__(num_tasks, losses)

    @override
    @final
    def prepare(self, partition: Partition, *, rows_alone: bool) -> Layout:
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
        sample.write(gradient_P * self.loss_scale, partition)
        return inner_t


def _loss_method(options: str | dict[str, Any], num_tasks: int) -> LossBalancer:
    method = balancers.build(options, num_tasks)
    if not isinstance(method, LossBalancer):
        raise RecipeError(
            [f"balancing.losses: found {options!r}, expected a method that weighs losses."]
        )
    if method.needs:
        found = ", ".join(sorted(method.needs))
        raise RecipeError([f"balancing.losses: {options!r} needs {found}: use it alone."])
    return method
