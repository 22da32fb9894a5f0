"""Adapters: small networks with a bottleneck that are added to hidden states."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu
from typing_extensions import override

from polytask.sharing.low_rank import new_down
from polytask.sharing.peft_base import Present


def adapted(
    hidden_VLD: Tensor, down_VRD: Tensor, inner_VR: Tensor, up_VRD: Tensor, outer_VD: Tensor
) -> Tensor:
    """The states h as h + U GELU(D h + inner) + outer, with weights of its own for each row."""
    low_VLR = torch.baddbmm(inner_VR.unsqueeze(1), hidden_VLD, down_VRD.transpose(1, 2))
    return torch.baddbmm(hidden_VLD + outer_VD.unsqueeze(1), gelu(low_VLR), up_VRD)


class OwnAdapter(nn.Module):
    """An adapter per task; all are the identity before the first update.

    :param present: Whose rows these are.
    :param width: D of the hidden states.
    :param bottleneck: R, the inner width.
    """

    def __init__(self, present: Present, tasks: Sequence[str], width: int, bottleneck: int) -> None:
        super().__init__()
        self._present = present
        self.down, self.inner = nn.ParameterDict(), nn.ParameterDict()
        self.up, self.outer = nn.ParameterDict(), nn.ParameterDict()
        for task in tasks:
            self.down[task] = new_down(width, bottleneck)
            self.inner[task] = nn.Parameter(torch.zeros(bottleneck))
            self.up[task] = nn.Parameter(torch.zeros(bottleneck, width))
            self.outer[task] = nn.Parameter(torch.zeros(width))

    @override
    def forward(self, hidden_VLD: Tensor) -> Tensor:
        """Hidden states to hidden states."""
        down_VRD, inner_VR, up_VRD, outer_VD = map(
            self._present.own, (self.down, self.inner, self.up, self.outer)
        )
        return adapted(hidden_VLD, down_VRD, inner_VR, up_VRD, outer_VD)


class OwnShift(nn.Module):
    """A vector per task that is added to the output of a module.

    :param present: Whose rows these are.
    :param width: O of the output.
    """

    def __init__(self, present: Present, tasks: Sequence[str], width: int) -> None:
        super().__init__()
        self._present = present
        self.shift = nn.ParameterDict({t: nn.Parameter(torch.zeros(width)) for t in tasks})

    @override
    def forward(self, output: Tensor) -> Tensor:
        """The output, of any number of dimensions, with the vector of the task of each row."""
        return output + per_row(self._present.own(self.shift), output)


class OwnNorm(OwnShift):
    """A scale and a shift per task for what a norm gives: as if each task had a norm of its own.

    :param present: Whose rows these are.
    :param width: D of the hidden states.
    """

    def __init__(self, present: Present, tasks: Sequence[str], width: int) -> None:
        super().__init__(present, tasks, width)
        self.gain = nn.ParameterDict({t: nn.Parameter(torch.ones(width)) for t in tasks})

    @override
    def forward(self, output: Tensor) -> Tensor:
        return super().forward(output * per_row(self._present.own(self.gain), output))


def per_row(values_VO: Tensor, output: Tensor) -> Tensor:
    """Values of V rows in the form of an output (V, ..., O)."""
    return values_VO.view(len(values_VO), *[1] * (output.ndim - 2), -1)
