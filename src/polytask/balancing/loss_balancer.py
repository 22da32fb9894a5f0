"""The common base of methods that use losses only."""

from __future__ import annotations

from abc import abstractmethod
from typing import final

import torch
from torch import Tensor
from typing_extensions import override

from polytask.balancing.balancer import Balancer
from polytask.balancing.engine import MeanLosses, TaskLosses
from polytask.balancing.engine.base import add_gradients, differentiate
from polytask.core.distributed import sum_gradients
from polytask.core.partition import Partition


class LossBalancer(Balancer):
    """Base of methods that combine the losses first, so that a step costs one backward pass."""

    cost = "one backward pass"

    def __init__(self, num_tasks: int, /) -> None:
        super().__init__(num_tasks)
        self._weights_T = torch.zeros(num_tasks)
        self._tally = MeanLosses(num_tasks)

    @abstractmethod
    def objective(self, losses_T: Tensor) -> Tensor:
        """Return the scalar to minimise, for the tasks in ``active_t``."""

    @final
    def weigh(self, active_t: Tensor, losses_t: Tensor) -> Tensor:
        """Return the derivative of the objective by each loss, weights_t.

        Parameters of the method itself, if it has any, receive their gradients.
        """
        self.active_t = active_t
        losses_t = losses_t.detach().requires_grad_()
        with self.seed_draws():
            self.objective(losses_t).backward()
        weights_t = torch.zeros_like(losses_t) if losses_t.grad is None else losses_t.grad
        self._weights_T[active_t] = weights_t.to(self._weights_T)
        return weights_t

    @override
    @final
    def accumulate(self, losses: TaskLosses, partition: Partition) -> None:
        self.gather()
        self._tally.add(losses)
        weights_T = torch.zeros(self.num_tasks, device=losses.scale_t.device)
        # The weights of a batch come from its own losses over all ranks, so all ranks get here.
        active_t, losses_t = MeanLosses(self.num_tasks).add(losses).means()
        if len(active_t):
            weights_T[active_t] = self.weigh(active_t, losses_t).to(weights_T)
        scale_t = losses.scale_t * weights_T[[*losses.tasks]] * self.loss_scale
        parameters = [*partition.shared, *partition.private]
        if self.shards is not None:
            self.shards.add(losses.values, scale_t, parameters)
        elif losses.tasks:
            add_gradients(parameters, differentiate(losses.values, scale_t, parameters))

    @override
    @final
    def resolve(self, partition: Partition) -> Tensor:
        self.active_t, self.losses_t = self._tally.means()
        self._tally = MeanLosses(self.num_tasks)
        if self.shards is None:
            sum_gradients([*partition.shared, *partition.private])
        else:
            self.shards.total.give()
        self.release()
        return self.finish()

    @final
    def finish(self) -> Tensor:
        """End the step, and return weights_T."""
        self.draws += 1
        weights_T, self._weights_T = self._weights_T, torch.zeros(self.num_tasks)
        return weights_T
