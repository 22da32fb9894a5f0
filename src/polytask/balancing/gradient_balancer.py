"""The common base of methods that use the gradient of every task."""

from __future__ import annotations

import contextlib
import time
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, final

import torch
import torch._functorch.config as functorch_config
from torch import Tensor
from typing_extensions import override

from polytask.balancing.balancer import Balancer, LossMethod, balancers
from polytask.balancing.engine import PROVIDERS, MeanLosses, Recorder, TaskGradients, TaskLosses
from polytask.balancing.loss_balancer import LossBalancer
from polytask.core.distributed import sum_gradients
from polytask.core.errors import RecipeError
from polytask.core.partition import Partition


class GradientBalancer(Balancer):
    """Base of methods that collect one gradient per task over the batches of a step."""

    def __init__(self, num_tasks: int, losses: LossMethod | None) -> None:
        super().__init__(num_tasks)
        # Compiled graphs free their buffers in the first backward pass unless this is off.
        functorch_config.donated_buffer = False
        self.inner = None if losses is None else build_loss_method(losses, num_tasks)
        self._tally = MeanLosses(num_tasks)
        self._samples: dict[int, TaskGradients] = {}
        self._providers: dict[tuple[str, int], TaskGradients] = {}  # reused, with their buffers
        self._recorder: Recorder | None = None
        self._used: str | None = None
        self._seconds, self._steps = 0.0, 0

    @property
    @abstractmethod
    def _kind(self) -> str:
        """The name of this step's provider."""

    @property
    @override
    @final
    def provider(self) -> str | None:
        return self._used

    @property
    @override
    @final
    def provider_seconds(self) -> float | None:
        return self._seconds / self._steps if self._steps else None

    @contextlib.contextmanager
    def _measure_time(self) -> Iterator[None]:
        before = time.perf_counter()
        yield
        self._seconds += time.perf_counter() - before

    def _inspect(self, losses: TaskLosses, partition: Partition) -> None:
        """Check whether this step's provider works for the model."""

    @abstractmethod
    def _combine(
        self, samples: Sequence[TaskGradients], inner_t: Tensor, partition: Partition
    ) -> Tensor:
        """Add the combined gradient of the tasks in ``active_t`` to ``.grad``; count the step.

        A step in which fp16 overflowed is not counted, and does not change the method's state.

        :param inner_t: The weights that the loss method gave to the losses.
        :return: weights_t, including ``inner_t``.
        """

    @override
    @final
    def accumulate(self, losses: TaskLosses, partition: Partition) -> None:
        self.gather()
        if losses.sample and "validation" in self.needs:
            partition = Partition(partition.shared, [])  # heads are not trained on these rows
        else:
            self._tally.add(losses)
        self._inspect(losses, partition)
        if losses.sample not in self._samples:
            self._used = self._kind
            place = (self._kind, losses.sample)
            if place not in self._providers:
                self._providers[place] = self._new_provider()
            self._samples[losses.sample] = self._providers[place]
        scaled = replace(losses, scale_t=losses.scale_t * self.loss_scale)
        with self._measure_time():
            self._samples[losses.sample].add(scaled, partition)

    def _new_provider(self) -> TaskGradients:
        if self.shards is None:
            return PROVIDERS[self._kind](self._recorder)
        if self._kind not in ("exact", "weighted"):
            raise RecipeError(
                [f"balancing.gradients: found {self._kind!r} and a sharded model. Choose 'exact'."]
            )
        return self.shards.provider(self.num_tasks)

    @override
    @final
    def resolve(self, partition: Partition) -> Tensor:
        self.active_t, self.losses_t = self._tally.means()
        samples = [self._samples[sample] for sample in sorted(self._samples)]
        self._samples, self._tally = {}, MeanLosses(self.num_tasks)
        weights_T = torch.zeros(self.num_tasks)
        if not len(self.active_t):
            self.release()
            return weights_T
        inner_t = torch.ones_like(self.losses_t)
        if self.inner is not None:
            inner_t = self.inner.weigh(self.active_t, self.losses_t)
            self.inner.finish()
        self._steps += 1
        with self.seed_draws(), self._measure_time():
            weights_t = self._combine(samples, inner_t, partition)
        if self.shards is None:
            sum_gradients(partition.private)
        self.release()
        for sample in samples:
            sample.forget()
        if self._recorder is not None:
            self._recorder.forget()
        weights_T[self.active_t] = weights_t.to(weights_T)
        return weights_T


def build_loss_method(options: str | dict[str, Any], num_tasks: int) -> LossBalancer:
    """Build the loss method that a gradient method is combined with.

    :raises RecipeError: If it is not a loss method, or needs more than losses.
    """
    method = balancers.build(options, num_tasks)
    if not isinstance(method, LossBalancer):
        raise RecipeError(
            [f"balancing.losses: found {options!r}, expected a method that weighs losses."]
        )
    if method.needs:
        found = ", ".join(sorted(method.needs))
        raise RecipeError([f"balancing.losses: {options!r} needs {found}: use it alone."])
    return method
