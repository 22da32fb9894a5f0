"""BitFit: only biases are trained.

Ben Zaken, Ravfogel and Goldberg, "BitFit: Simple Parameter-efficient Fine-tuning for
Transformer-based Masked Language-models", ACL 2022, section 3. https://arxiv.org/abs/2106.10199

Deviations: the paper has biases for each task; here all tasks share them by default. Private biases
are added to the outputs of the linear layers and norms inside layers. Where an encoder has no biases,
such as a Llama, a vector is added to the output of each layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from polytask.core.encoder import Encoder
from polytask.sharing.base import architectures
from polytask.sharing.bottleneck import OwnShift
from polytask.sharing.layers import change_output, hidden_layers
from polytask.sharing.peft_base import PeftArchitecture
from polytask.sharing.sublayers import linear_layers, norms


@architectures.register("bitfit")
class BitFit(PeftArchitecture):
    """Only the biases of the encoder are trained, shared by all tasks or private.

    :param private: Give every task separate biases.
    """

    cost: ClassVar[str] = (
        "no parameters and no computation; with private biases one vector per task, linear layer "
        "and norm, and rows that several tasks read are encoded once for each; all else is frozen"
    )

    def __init__(self, encoder: Encoder, tasks: Sequence[str], /, *, private: bool = False) -> None:
        biases = _find_biases(encoder)  # before the encoder is frozen
        super().__init__(encoder, tasks)
        self.is_per_task = private
        self.shifts = nn.ModuleList()
        if private:
            self._add_private()
        elif biases:
            for bias in biases:
                bias.requires_grad_(True)
        else:
            for layer in hidden_layers(encoder):
                self._add(layer, Shift(encoder.width))

    def _add_private(self) -> None:
        places: dict[nn.Module, int] = {
            each.module: each.widths[1] for each in linear_layers(self.encoder)
        }
        places |= dict.fromkeys(norms(self.encoder), self.encoder.width)
        biased = {m: width for m, width in places.items() if getattr(m, "bias", None) is not None}
        whole = dict.fromkeys(hidden_layers(self.encoder), self.encoder.width)
        for module, width in (biased or whole).items():
            self._add(module, OwnShift(self.present, self.tasks, width))

    def _add(self, module: nn.Module, shift: nn.Module) -> None:
        self.shifts.append(shift)
        change_output(module, shift)


class Shift(nn.Module):
    """A vector that is added to hidden states.

    :param width: D of the hidden states.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(width))

    @override
    def forward(self, hidden_BLD: Tensor) -> Tensor:
        """Return hidden states plus the vector."""
        return hidden_BLD + self.shift


def _find_biases(encoder: Encoder) -> list[nn.Parameter]:
    """Return the biases inside layers, and the trainable biases outside (a pooler's is frozen)."""
    inside = {id(p) for layer in hidden_layers(encoder) for p in layer.parameters()}
    return [
        parameter
        for name, parameter in encoder.named_parameters()
        if name.rsplit(".", 1)[-1].startswith("bias")
        and (parameter.requires_grad or id(parameter) in inside)
    ]
