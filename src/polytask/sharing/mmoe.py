"""Experts for all, and a gate for each task.

Ma, Zhao, Yi, Chen, Hong and Chi, "Modeling Task Relationships in Multi-task Learning with
Multi-gate Mixture-of-Experts", KDD 2018, section 4.2 and figure 1c.
https://doi.org/10.1145/3219819.3220007

Deviations: experts read the features of an encoder, and add to them. A gate can also mix the experts
for every token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from pydantic import PositiveInt
from torch import Tensor, nn
from typing_extensions import override

from polytask.core.collated import Collated
from polytask.core.encoder import Encoder
from polytask.core.features import Features
from polytask.sharing.base import architectures
from polytask.sharing.experts import Experts, GatedExperts, gate_inputs
from polytask.sharing.per_task import apply_per_task
from polytask.sharing.rows import TaskRows


@architectures.register("mmoe")
class MultiGateMixtureOfExperts(GatedExperts):
    """Experts above the encoder, mixed by a softmax gate for each task.

    :param experts: E, the number of experts.
    """

    cost: ClassVar[str] = (
        "2 x width x hidden shared parameters per expert, and as many products per token; experts x "
        "width parameters per task"
    )

    def __init__(
        self,
        encoder: Encoder,
        tasks: Sequence[str],
        /,
        *,
        experts: PositiveInt = 4,
        **options: Any,
    ) -> None:
        super().__init__(encoder, tasks, **options)
        self.experts = Experts(experts, encoder.width, self.hidden)
        self.gates = nn.ModuleDict(
            {task: nn.Linear(encoder.width, experts, bias=False) for task in tasks}
        )

    @override
    def forward(self, inputs: Collated, rows: Mapping[str, Tensor]) -> dict[str, Features]:
        features = self.encoder(inputs)
        task_rows = TaskRows.of(rows)
        experts_VLED = task_rows.take(self.experts(features.tokens_BLD))
        own = task_rows.select(features)
        read = gate_inputs(own, self.gate)
        gates_VLE = apply_per_task(self.gates, task_rows, read.tokens_BLD).softmax(-1)
        gates = replace(read, tokens_BLD=gates_VLE)
        return self.mix_by_task(task_rows, own, gates, experts_VLED)
