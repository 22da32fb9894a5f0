"""The penalty that an architecture adds to the objective, besides the losses of the tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch._functorch.config as functorch_config
from torch import Tensor
from torch.nn import Parameter

from polytask.balancing.engine.base import add_gradients
from polytask.core.distributed import sum_gradients, sum_over_ranks
from polytask.core.partition import Partition
from polytask.modeling import MultiTaskModel


class Penalties:
    """The gradient of an architecture's penalty, which balancing methods do not see.

    The penalty of a batch is weighted by the batch's share of the rows of the step, as losses are.
    If one backward pass serves all losses, it differentiates the penalty as well.

    :param partition: The parameters that the losses of the tasks reach.
    """

    def __init__(self, model: MultiTaskModel, partition: Partition) -> None:
        # A compiled graph frees its buffers in its first backward pass; here it needs two.
        functorch_config.donated_buffer = False
        self._model = model
        parameters = model.trainable()
        self._parameters = [*parameters.values()]
        # The backward pass of the losses asks for no gradient of these.
        self._beyond = [parameters[name] for name in partition.unreached]
        self._gradients: dict[Parameter, Tensor] = {}
        self._value = self._counted = 0.0

    def add(self, losses: Sequence[Tensor], share: float, scale: float) -> list[Tensor]:
        """Add the penalty of the rows that went through the model last.

        :param losses: Losses of the tasks in the same rows, not differentiated yet. One pass
            differentiates them all unless the model keeps tasks apart.
        :param share: Share of the rows of the step, over all ranks.
        :param scale: Factor of the losses in fp16.
        :return: The losses; differentiating the first one may also differentiate the penalty.
        """
        term = self._model.sharing.penalty()
        if not losses or term is None or not term.requires_grad:  # all its parameters are frozen
            return [*losses]
        self._value += share * float(term.detach())
        self._counted = 1.0
        term = share * scale * term
        if self._model.tasks_apart:  # a pass per task: a carried penalty would count as that task's
            self._differentiate(term, self._parameters)
            return [*losses]
        self._differentiate(term, self._beyond)
        first, *others = losses
        return [_Carry.apply(first, term), *others]  # type: ignore[no-untyped-call]

    def _differentiate(self, term: Tensor, parameters: Sequence[Parameter]) -> None:
        """Keep the gradient of some parameters; the graph stays for the losses."""
        if not parameters:
            return
        found = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
        for parameter, gradient in zip(parameters, found, strict=True):
            if gradient is not None:
                before = self._gradients.get(parameter)
                self._gradients[parameter] = gradient if before is None else before + gradient

    def apply(self) -> float | None:
        """Add the gradient of the penalty, summed over all ranks, to ``.grad``.

        :return: The penalty of the step; None if no rank has one.
        """
        gathered = [self._value, self._counted, float(bool(self._gradients))]
        value, counted, givers = sum_over_ranks(
            torch.tensor(gathered, dtype=torch.float64)
        ).tolist()
        if givers:  # a sum over ranks, so all of them enter this branch or none
            # ``.grad`` is summed already. It is set aside, so that only the penalty is summed here.
            before = [parameter.grad for parameter in self._parameters]
            for parameter in self._parameters:
                parameter.grad = self._gradients.get(parameter)
            sum_gradients(self._parameters)
            add_gradients(self._parameters, before)
        self._gradients, self._value, self._counted = {}, 0.0, 0.0
        return value if counted else None


class _Carry(torch.autograd.Function):
    """The identity of a loss that also sends a gradient of 1 to the penalty.

    A balancer may multiply the loss by any weight: the penalty keeps its own factor.
    """

    @staticmethod
    def forward(ctx: Any, loss: Tensor, term: Tensor) -> Tensor:
        ctx.save_for_backward(torch.ones_like(term))
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        [one] = ctx.saved_tensors
        return gradient, one
