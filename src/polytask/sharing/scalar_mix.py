"""A weighted sum of the layers of an encoder, with different weights for every task.

Peters et al., "Deep Contextualized Word Representations", NAACL 2018, equation 1.
https://aclanthology.org/N18-1202
For many tasks with one pretrained encoder: Kondratyuk and Straka, "75 Languages, 1 Model: Parsing
Universal Dependencies Universally", EMNLP 2019, section 3.1. https://aclanthology.org/D19-1279

Deviations: weights are not normalised by a softmax, so that they can start at one for the last layer
and at zero below, and need no separate scale. Embeddings are not part of the sum. The last hidden
states are the features of the encoder, its last norm included. No layers are dropped in training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from polytask.core.collated import Collated
from polytask.core.encoder import Encoder
from polytask.core.features import Features
from polytask.sharing.base import SharedEncoder, architectures
from polytask.sharing.layers import States, hidden_layers, sum_layers
from polytask.sharing.per_task import new_parameters
from polytask.sharing.rows import TaskRows


@architectures.register("scalar_mix")
class ScalarMix(SharedEncoder):
    """All tasks share an encoder; each learns a weighted sum of its layers.

    An encoder without layers counts as one layer: each task then learns a scale of its features.

    :param encoder: A fitted encoder; the architecture owns it.
    :param tasks: Names of the tasks, T of them.
    """

    cost: ClassVar[str] = (
        "one parameter per task and layer; rows are encoded once, and summed for each task that "
        "reads them"
    )

    def __init__(self, encoder: Encoder, tasks: Sequence[str], /) -> None:
        super().__init__(encoder, tasks)
        start_N = torch.eye(len(hidden_layers(encoder)))[-1]
        self.weights = new_parameters(tasks, [start_N] * len(tasks))
        self._states = States(encoder)
        self._present: tuple[str, ...] = ()

    @override
    def forward(self, inputs: Collated, rows: Mapping[str, Tensor]) -> dict[str, Features]:
        features, states = self._states.read(self.encoder, inputs)
        task_rows = TaskRows.of(rows)
        self._present = task_rows.tasks
        weights_tN = torch.stack([self.weights[task] for task in task_rows.tasks])
        mixed_VLD = sum_layers(
            weights_tN[task_rows.place_V], [task_rows.take(state_BLD) for state_BLD in states]
        )
        return task_rows.split(replace(task_rows.select(features), tokens_BLD=mixed_VLD))

    @property
    @override
    def one_pass(self) -> bool:
        return True

    @override
    def observe(self) -> dict[str, float]:
        return {
            f"weight/{task}/layer_{place}": weight
            for task in self._present
            for place, weight in enumerate(self.weights[task].tolist(), start=1)
        }
