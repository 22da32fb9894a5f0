"""What the architecture adds to the objective, beside the losses of the tasks."""

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
    """The gradient of an architecture's own term, which balancing methods do not see.

    Like the losses of tasks, the term of a batch counts by the batch's share of the rows of the
    step. Where these are differentiated together, the term is differentiated in the same pass.

    :param partition: The parameters that the losses of tasks reach.
    """

    def __init__(self, model: MultiTaskModel, partition: Partition) -> None:
        functorch_config.donated_buffer = False  # compiled graphs, too, are differentiated twice
        self._model = model
        parameters = model.trainable()
        self._parameters = [*parameters.values()]
        self._beyond = [parameters[name] for name in partition.unreached]
        self._gradients: dict[Parameter, Tensor] = {}
        self._value = self._counted = 0.0

    def add(self, losses: Sequence[Tensor], share: float, scale: float) -> list[Tensor]:
        """Count the term of the rows that went through the model last.

        :param losses: Of the tasks in the same rows; still to be differentiated, in one pass unless
            the model keeps tasks apart.
        :param share: Share of the rows of the step, over all ranks.
        :param scale: What fp16 multiplies losses by.
        :return: The losses; differentiating the first may differentiate the term as well.
        """
        term = self._model.sharing.penalty()
        if not losses or term is None or not term.requires_grad:  # all that it is about is frozen
            return [*losses]
        self._value += share * float(term.detach())
        self._counted = 1.0
        term = share * scale * term
        if self._model.tasks_apart:
            self._differentiate(term, self._parameters)
            return [*losses]
        self._differentiate(term, self._beyond)
        first, *others = losses
        return [_Carry.apply(first, term), *others]  # type: ignore[no-untyped-call]

    def _differentiate(self, term: Tensor, parameters: Sequence[Parameter]) -> None:
        """Keep the gradient of some parameters; the losses will need the graph again."""
        if not parameters:
            return
        found = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
        for parameter, gradient in zip(parameters, found, strict=True):
            if gradient is not None:
                before = self._gradients.get(parameter)
                self._gradients[parameter] = gradient if before is None else before + gradient

    def apply(self) -> float | None:
        """Add what was gathered on all ranks to ``.grad``.

        :return: The term of the step; None where there is none on any rank.
        """
        gathered = [self._value, self._counted, float(bool(self._gradients))]
        value, counted, givers = sum_over_ranks(
            torch.tensor(gathered, dtype=torch.float64)
        ).tolist()
        if givers:
            before = [parameter.grad for parameter in self._parameters]
            for parameter in self._parameters:
                parameter.grad = self._gradients.get(parameter)
            sum_gradients(self._parameters)
            add_gradients(self._parameters, before)
        self._gradients, self._value, self._counted = {}, 0.0, 0.0
        return value if counted else None


class _Carry(torch.autograd.Function):
    """A loss as it is; whatever it is weighed by, a term besides is differentiated with it."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, term: Tensor) -> Tensor:
        ctx.save_for_backward(torch.ones_like(term))
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        [one] = ctx.saved_tensors
        return gradient, one
