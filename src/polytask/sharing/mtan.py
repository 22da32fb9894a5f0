"""Attention masks of every task on the layers of a shared network.

Liu, Johns and Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019, section 3.2 and
figure 2: a task's features at a layer are the shared features times a mask. A small network computes
the mask from the shared features and the task's features one layer below. https://arxiv.org/abs/1803.10704

Deviations: masks are twice a sigmoid, so that they start at one. A mask is computed from the shared
features that it is applied to; the paper takes features from earlier in the block of convolutions.
Layer normalisation of the inputs, without parameters, replaces batch normalisation. The last shared
features are the features of the encoder, its last norm included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from polytask.core.collated import Collated
from polytask.core.encoder import Encoder
from polytask.core.features import Features
from polytask.sharing.base import SharedEncoder, architectures
from polytask.sharing.layers import States, hidden_layers
from polytask.sharing.per_task import LinearPerTask
from polytask.sharing.rows import TaskRows


@architectures.register("mtan")
class MultiTaskAttentionNetwork(SharedEncoder):
    """Every task masks the hidden states of each layer of a shared encoder.

    :param hidden: Hidden units of the network that computes a mask.
    """

    cost: ClassVar[str] = (
        "3 x width x hidden parameters per task and layer, width x width shared ones per layer but "
        "the first; rows are encoded once, and masked for each task that reads them"
    )

    def __init__(
        self, encoder: Encoder, tasks: Sequence[str], /, *, hidden: PositiveInt = 64
    ) -> None:
        super().__init__(encoder, tasks)
        depth = len(hidden_layers(encoder))
        self.masks = nn.ModuleList(
            Mask(self.tasks, encoder.width, hidden, place > 0) for place in range(depth)
        )
        self._states = States(encoder)

    @override
    def forward(self, inputs: Collated, rows: Mapping[str, Tensor]) -> dict[str, Features]:
        features, states = self._states.read(self.encoder, inputs)
        task_rows = TaskRows.of(rows)
        masked_VLD = task_rows.take(states[0])
        for mask, state_BLD in zip(self.masks, states, strict=True):
            masked_VLD = mask(task_rows.take(state_BLD), masked_VLD, task_rows)
        return task_rows.split(replace(task_rows.select(features), tokens_BLD=masked_VLD))


class Mask(nn.Module):
    """The attention of all tasks at one layer.

    :param width: D of the hidden states.
    :param hidden: Number of units.
    :param follows: True if there is a layer below.
    """

    def __init__(self, tasks: Sequence[str], width: int, hidden: int, follows: bool) -> None:
        super().__init__()
        self.below = nn.Linear(width, width) if follows else None
        self.inner = LinearPerTask(tasks, (1 + follows) * width, hidden)
        self.output = LinearPerTask(tasks, hidden, width, zero=True)

    def forward(self, shared_VLD: Tensor, masked_VLD: Tensor, rows: TaskRows) -> Tensor:
        """Return the shared hidden states times the mask of the task of each row.

        :param masked_VLD: The result at the layer below; not read at the first layer.
        """
        read = [normalise(shared_VLD)]
        if self.below is not None:
            read.append(torch.relu(self.below(normalise(masked_VLD))))
        inner_VLH = torch.relu(self.inner(torch.cat(read, dim=-1), rows))
        mask_VLD = 2 * torch.sigmoid(self.output(inner_VLH, rows))
        return shared_VLD * mask_VLD


def normalise(hidden_BLD: Tensor) -> Tensor:
    """Return hidden states with mean zero and variance one for every token."""
    return functional.layer_norm(hidden_BLD, hidden_BLD.shape[-1:])
