"""Adapters: small networks with a bottleneck that are added to hidden states."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu
from typing_extensions import override

from polytask.sharing.low_rank import new_down
from polytask.sharing.peft_base import PresentRows


def adapt(
    hidden_VLD: Tensor, down_VRD: Tensor, inner_VR: Tensor, up_VRD: Tensor, outer_VD: Tensor
) -> Tensor:
    """Return h + U GELU(D h + inner) + outer for hidden states h, with separate weights for each row."""
    low_VLR = torch.baddbmm(inner_VR.unsqueeze(1), hidden_VLD, down_VRD.transpose(1, 2))
    return torch.baddbmm(hidden_VLD + outer_VD.unsqueeze(1), gelu(low_VLR), up_VRD)


class OwnAdapter(nn.Module):
    """An adapter per task; all are the identity before the first update.

    :param present: The rows of the current pass.
    :param width: D of the hidden states.
    :param bottleneck: R, the inner width.
    """

    def __init__(
        self, present: PresentRows, tasks: Sequence[str], width: int, bottleneck: int
    ) -> None:
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
        return adapt(hidden_VLD, down_VRD, inner_VR, up_VRD, outer_VD)


class OwnShift(nn.Module):
    """A vector per task that is added to the output of a module.

    :param present: The rows of the current pass.
    :param width: Width O of the output.
    """

    def __init__(self, present: PresentRows, tasks: Sequence[str], width: int) -> None:
        super().__init__()
        self._present = present
        self.shift = nn.ParameterDict({t: nn.Parameter(torch.zeros(width)) for t in tasks})

    @override
    def forward(self, output: Tensor) -> Tensor:
        """Return an output (V, ..., O) plus the vector of the task of each row."""
        return output + per_row(self._present.own(self.shift), output)


class OwnNorm(OwnShift):
    """A scale and a shift per task for the output of a norm: equal to a separate norm per task.

    :param present: The rows of the current pass.
    :param width: D of the hidden states.
    """

    def __init__(self, present: PresentRows, tasks: Sequence[str], width: int) -> None:
        super().__init__(present, tasks, width)
        self.gain = nn.ParameterDict({t: nn.Parameter(torch.ones(width)) for t in tasks})

    @override
    def forward(self, output: Tensor) -> Tensor:
        return super().forward(output * per_row(self._present.own(self.gain), output))


def per_row(values_VO: Tensor, output: Tensor) -> Tensor:
    """Reshape values of V rows so that they broadcast to an output (V, ..., O)."""
    return values_VO.view(len(values_VO), *[1] * (output.ndim - 2), -1)
