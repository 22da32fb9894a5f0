"""What the architecture adds to the objective, beside the losses of the tasks."""

from __future__ import annotations

import torch
import torch._functorch.config as functorch_config
from torch import Tensor
from torch.nn import Parameter

from polytask.balancing.engine.base import add_gradients
from polytask.balancing.engine.processes import sum_gradients, sum_over_ranks
from polytask.modeling import MultiTaskModel


class Penalties:
    """The gradient of an architecture's own term, kept apart from those of the tasks.

    Balancing methods see the losses of tasks alone. Like these, the term of a batch counts by the
    batch's share of the rows of the step.
    """

    def __init__(self, model: MultiTaskModel) -> None:
        functorch_config.donated_buffer = False  # compiled graphs, too, are differentiated twice
        self._sharing = model.sharing
        self._parameters = [*model.trainable().values()]
        self._gradients: dict[Parameter, Tensor] = {}
        self._value = 0.0

    def add(self, share: float, scale: float) -> None:
        """Differentiate the term of the rows that went through the model last.

        Their graph is kept, as the losses of the tasks are still to be differentiated.

        :param share: Share of the rows of the step, over all ranks.
        :param scale: What fp16 multiplies losses by.
        """
        term = self._sharing.penalty()
        if term is None or not term.requires_grad:  # as where all that it is about is frozen
            return
        self._value += share * float(term.detach())
        found = torch.autograd.grad(
            share * scale * term, self._parameters, retain_graph=True, allow_unused=True
        )
        for parameter, gradient in zip(self._parameters, found, strict=True):
            if gradient is not None:
                before = self._gradients.get(parameter)
                self._gradients[parameter] = gradient if before is None else before + gradient

    def apply(self) -> float | None:
        """Add what was gathered on all ranks to ``.grad``.

        :return: The term of the step; None where there is none on any rank.
        """
        gathered = torch.tensor([self._value, float(bool(self._gradients))], dtype=torch.float64)
        value, givers = sum_over_ranks(gathered).tolist()
        if givers:
            before = [parameter.grad for parameter in self._parameters]
            for parameter in self._parameters:
                parameter.grad = self._gradients.get(parameter)
            sum_gradients(self._parameters)
            add_gradients(self._parameters, before)
        self._gradients, self._value = {}, 0.0
        return value if givers else None
