"""The interface of a balancing method.

A method is one of three shapes, and implements one pure function:

* ``LossBalancer``     losses_T    -> objective    (weighting, scalarisation)
* ``GramianBalancer``  gramian_TT  -> weights_T    (anything decided by inner products)
* ``JacobianBalancer`` jacobian_TP -> gradient_P   (anything that needs every coordinate)

These three are abstract; every class below them is final. In a step of several batches,
``accumulate`` is called for each and ``resolve`` once; ``backward`` is both, for a plain loop.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from polytask.balancing import gradients
from polytask.core.partition import Partition
from polytask.core.registry import Registry


class Balancer(nn.Module, ABC):
    """Turns the losses of T tasks into the gradients of one update.

    :param num_tasks: Number of tasks, T.
    """

    def __init__(self, num_tasks: int, /) -> None:
        super().__init__()
        self.num_tasks = num_tasks
        self.active_t = torch.arange(num_tasks)
        """The tasks whose losses are being looked at; methods index their state with it."""

    @abstractmethod
    def accumulate(self, losses_t: Tensor, partition: Partition, active_t: Tensor) -> None:
        """Take in the losses of one batch of a step.

        :param losses_t: Losses of the tasks present, with their graphs.
        :param active_t: Positions of those tasks among all T.
        """

    @abstractmethod
    def resolve(self, partition: Partition) -> Tensor:
        """Finish a step: ``.grad`` of every parameter is filled.

        :return: weights_T, the weight each task received; 0 for absent tasks.
        """

    def backward(self, losses_T: Tensor, partition: Partition) -> Tensor:
        """Fill ``.grad`` from the losses of all tasks, and return weights_T."""
        self.accumulate(losses_T, partition, torch.arange(self.num_tasks))
        return self.resolve(partition)

    def observe(self, record: Mapping[str, Any]) -> None:
        """Be told the record of a finished step: ``losses`` by position, ``epoch``, ``step``."""


class LossBalancer(Balancer):
    """Combines the losses before differentiating, so a step costs one backward pass."""

    def __init__(self, num_tasks: int, /) -> None:
        super().__init__(num_tasks)
        self._weights_T = torch.zeros(num_tasks)

    @abstractmethod
    def objective(self, losses_T: Tensor) -> Tensor:
        """Return the scalar to minimise, for the tasks in ``active_t``."""

    @override
    @final
    def accumulate(self, losses_t: Tensor, partition: Partition, active_t: Tensor) -> None:
        self.active_t = active_t
        leaf_t = losses_t.detach().requires_grad_()
        self.objective(leaf_t).backward()
        weights_t = torch.zeros_like(leaf_t) if leaf_t.grad is None else leaf_t.grad
        losses_t.backward(weights_t)
        self._weights_T[active_t] = weights_t.to(self._weights_T)

    @override
    @final
    def resolve(self, partition: Partition) -> Tensor:
        weights_T, self._weights_T = self._weights_T, torch.zeros(self.num_tasks)
        return weights_T


class _GradientBalancer(Balancer):
    """Collects one gradient per task, adding up over the batches of a step."""

    def __init__(self, num_tasks: int, /) -> None:
        super().__init__(num_tasks)
        self._rows: dict[int, Tensor] = {}

    @abstractmethod
    def _combine(self, jacobian_tP: Tensor) -> tuple[Tensor, Tensor]:
        """Return gradient_P and weights_t."""

    @override
    @final
    def accumulate(self, losses_t: Tensor, partition: Partition, active_t: Tensor) -> None:
        jacobian_tP = gradients.per_task(losses_t, partition)
        for task, row_P in zip(active_t.tolist(), jacobian_tP, strict=True):
            self._rows[task] = self._rows[task] + row_P if task in self._rows else row_P

    @override
    @final
    def resolve(self, partition: Partition) -> Tensor:
        self.active_t = torch.tensor(sorted(self._rows))
        jacobian_tP = torch.stack([self._rows[task] for task in self.active_t.tolist()])
        self._rows = {}
        gradient_P, weights_t = self._combine(jacobian_tP)
        gradients.write(gradient_P, partition.shared)
        weights_T = torch.zeros(self.num_tasks)
        weights_T[self.active_t] = weights_t.to(weights_T)
        return weights_T


class GramianBalancer(_GradientBalancer):
    """Weighs task gradients by looking at their inner products only."""

    @abstractmethod
    def weights(self, gramian_TT: Tensor) -> Tensor:
        """Return one weight for each of the tasks in ``active_t``."""

    @override
    @final
    def _combine(self, jacobian_tP: Tensor) -> tuple[Tensor, Tensor]:
        weights_t = self.weights(jacobian_tP @ jacobian_tP.T)
        return weights_t @ jacobian_tP, weights_t


class JacobianBalancer(_GradientBalancer):
    """Combines task gradients coordinate by coordinate."""

    @abstractmethod
    def combine(self, jacobian_TP: Tensor) -> Tensor:
        """Return the gradient of the shared parameters, gradient_P."""

    @override
    @final
    def _combine(self, jacobian_tP: Tensor) -> tuple[Tensor, Tensor]:
        return self.combine(jacobian_tP), torch.ones(len(jacobian_tP))


balancers: Registry[Balancer] = Registry("balancing", Balancer)
