"""Tasks attend to each other's features.

Xu, Ouyang, Wang and Sebe, "PAD-Net: Multi-Tasks Guided Prediction-and-Distillation Network for
Simultaneous Depth Estimation and Scene Parsing", CVPR 2018, section 3.3, module C: a task adds the
transformed features of every other task to its features, weighted by an attention that it computes
from its features. https://arxiv.org/abs/1805.04409

Deviations:
- The attention is a softmax over the other tasks, one number per task and token, of scaled inner
  products of a query of the task with their features. The paper has a sigmoid for every number.
- Each task has one projection of the encoder's features, the same for all readers. The paper has one
  transformation for every pair of tasks, and tasks also predict before the exchange.
- Tasks need not label the same rows. On a row of another task, a projection is trained by the loss of
  that other task alone.
- The result is added to the encoder's features, and is zero at the start.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from typing_extensions import override

from polytask.core.collated import Collated
from polytask.core.encoder import Encoder
from polytask.core.features import Features
from polytask.sharing.base import SharedEncoder, architectures
from polytask.sharing.per_task import LinearPerTask
from polytask.sharing.rows import TaskRows


@architectures.register("task_attention")
class TaskAttention(SharedEncoder):
    """Every task projects the features of one encoder, and attends to the others' projections.

    :param hidden: Width of a projection.
    """

    cost: ClassVar[str] = (
        "3 x width x hidden parameters per task; the products with the projections of all tasks "
        "per token, whichever task reads it"
    )

    def __init__(
        self, encoder: Encoder, tasks: Sequence[str], /, *, hidden: PositiveInt = 64
    ) -> None:
        super().__init__(encoder, tasks)
        # One layer for all tasks: every task reads the projections of all, part by part.
        self.projections = nn.Linear(encoder.width, len(self.tasks) * hidden)
        self.query = LinearPerTask(self.tasks, encoder.width, hidden)
        self.output = LinearPerTask(self.tasks, hidden, encoder.width, zero=True)
        self._seen: dict[str, Tensor] = {}

    @override
    def forward(self, inputs: Collated, rows: Mapping[str, Tensor]) -> dict[str, Features]:
        features = self.encoder(inputs)
        task_rows = TaskRows.of(rows)
        projected_BLX = torch.relu(self.projections(features.tokens_BLD))
        projected_VLTH = task_rows.take(projected_BLX).unflatten(-1, (len(self.tasks), -1))
        own = task_rows.select(features)
        places = [self.tasks.index(task) for task in task_rows.tasks]
        task_V = torch.tensor(places, device=task_rows.rows_V.device)[task_rows.place_V]
        shares_VLT = attention(self.query(own.tokens_BLD, task_rows), projected_VLTH, task_V)
        if self.training:
            shares = task_rows.split(replace(own, tokens_BLD=shares_VLT))
            self._seen = {task: each.mean_BD.detach().mean(0) for task, each in shares.items()}
        exchanged_VLH = exchange(shares_VLT, projected_VLTH, task_V)
        changed_VLD = own.tokens_BLD + self.output(exchanged_VLH, task_rows)
        return task_rows.split(replace(own, tokens_BLD=changed_VLD))

    @override
    def observe(self) -> dict[str, float]:
        """Return how much each task attended to each other task, as a mean over rows."""
        return {
            f"attention/{task}/{other}": share
            for task, shares_T in self._seen.items()
            for other, share in zip(self.tasks, shares_T.tolist(), strict=True)
            if other != task
        }


def attention(query_VLH: Tensor, projected_VLTH: Tensor, task_V: Tensor) -> Tensor:
    """Return how much each row attends to the projections of other tasks, VLT; the sum is one.

    A single task attends to itself.

    :param task_V: The task that reads each row.
    """
    scores_VLT = (projected_VLTH @ query_VLH.unsqueeze(-1)).squeeze(-1)
    scores_VLT = scores_VLT / math.sqrt(query_VLH.shape[-1])
    everyone_T = torch.arange(scores_VLT.shape[-1], device=task_V.device)
    itself_V1T = everyone_T == task_V[:, None, None]
    # The lowest finite number and not -inf, whose softmax for a single task would be nan.
    return scores_VLT.masked_fill(itself_V1T, torch.finfo(scores_VLT.dtype).min).softmax(-1)


def exchange(shares_VLT: Tensor, projected_VLTH: Tensor, task_V: Tensor) -> Tensor:
    """Return each task's projection, plus the projections of the others times their shares, VLH."""
    place_V = torch.arange(len(task_V), device=task_V.device)
    own_VLH = projected_VLTH[place_V, :, task_V]
    return own_VLH + (shares_VLT.unsqueeze(-1) * projected_VLTH).sum(-2)
