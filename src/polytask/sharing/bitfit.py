"""Nothing but biases is trained.

Ben Zaken, Ravfogel and Goldberg, "BitFit: Simple Parameter-efficient Fine-tuning for
Transformer-based Masked Language-models", ACL 2022, section 3. https://arxiv.org/abs/2106.10199

Deviations: the paper has biases for each task; here all tasks share them unless told otherwise.
Those of a task are added to the outputs of the linear layers and norms inside layers. Where an
encoder has no biases, as a Llama, a vector is added to the hidden states that each layer gives.
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
from polytask.sharing.linear import linear_layers
from polytask.sharing.peft_base import Tuned
from polytask.sharing.sublayers import norms


@architectures.register("bitfit")
class BitFit(Tuned):
    """Only the biases of the encoder are trained, shared by all tasks or private.

    :param private: Every task has biases of its own.
    """

    cost: ClassVar[str] = (
        "no parameters and no computation; with private biases one vector per task, linear layer "
        "and norm, and rows that several tasks read are encoded once for each; all else is frozen"
    )

    def __init__(self, encoder: Encoder, tasks: Sequence[str], /, *, private: bool = False) -> None:
        biases = _biases(encoder)
        super().__init__(encoder, tasks)
        self.apart = private
        self.shifts = nn.ModuleList()
        if private:
            self._add_own()
        elif biases:
            for bias in biases:
                bias.requires_grad_(True)
        else:
            for layer in hidden_layers(encoder):
                self._add(layer, Shift(encoder.width))

    def _add_own(self) -> None:
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
        """Hidden states to hidden states."""
        return hidden_BLD + self.shift


def _biases(encoder: Encoder) -> list[nn.Parameter]:
    """Those inside layers, and those outside that were to be trained: not that of a pooler."""
    inside = {id(p) for layer in hidden_layers(encoder) for p in layer.parameters()}
    return [
        parameter
        for name, parameter in encoder.named_parameters()
        if name.rsplit(".", 1)[-1].startswith("bias")
        and (parameter.requires_grad or id(parameter) in inside)
    ]
