"""Experts of all tasks beside experts of each: what CGC and PLE are made of.

Tang, Liu, Zhao and Gong, "Progressive Layered Extraction (PLE): A Novel Multi-Task Learning (MTL)
Model for Personalized Recommendations", RecSys 2020, figures 4 and 5.
https://doi.org/10.1145/3383313.3412236
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import PositiveInt
from torch import Tensor, nn
from typing_extensions import override

from polytask.core.collated import Collated
from polytask.core.encoder import Encoder
from polytask.core.features import Features
from polytask.sharing.experts import Experts, GatedExperts


class ExtractionLevels(GatedExperts, ABC):
    """Levels of experts; on each, tasks mix their own experts with the shared ones.

    :param encoder: A fitted encoder; the architecture owns it.
    :param tasks: Names of the tasks, T of them.
    :param levels: Number of levels.
    :param task_experts: Experts of each task on a level.
    :param shared_experts: Experts of all tasks on a level.
    """

    def __init__(
        self,
        encoder: Encoder,
        tasks: Sequence[str],
        levels: int,
        /,
        *,
        task_experts: PositiveInt = 1,
        shared_experts: PositiveInt = 2,
        **options: Any,
    ) -> None:
        super().__init__(encoder, tasks, **options)
        width = encoder.width
        sizes = (task_experts, shared_experts, width, self.hidden)
        self._levels = [Level(tasks, *sizes) for _ in range(levels)]
        self.levels = nn.ModuleList(self._levels)
        every = len(tasks) * task_experts + shared_experts
        self.shared_gates = nn.ModuleList(
            nn.Linear(width, every, bias=False) for _ in range(levels - 1)
        )

    @override
    def forward(self, inputs: Collated, rows: Mapping[str, Tensor]) -> dict[str, Features]:
        shared = self.encoder(inputs)
        states = dict.fromkeys(self.tasks, shared)
        self.forget()
        *lower, top = self._levels
        for place, (level, gate) in enumerate(zip(lower, self.shared_gates, strict=True)):
            states, shared = self._extract(f"level_{place + 1}/", level, gate, states, shared)
        prefix = f"level_{len(self._levels)}/" if lower else ""
        shared_BLED = top.shared(shared.tokens_BLD)
        found = {}
        for task, rows_b in rows.items():
            own = states[task].select(rows_b)
            own_bLED = top.own[task](own.tokens_BLD)
            experts = [("own", own_bLED), ("shared", shared_BLED.index_select(0, rows_b))]
            found[task] = self.mixed(prefix + task, top.gates[task], own, experts)
        return found

    def _extract(
        self,
        prefix: str,
        level: Level,
        gate: nn.Module,
        states: Mapping[str, Features],
        shared: Features,
    ) -> tuple[dict[str, Features], Features]:
        """One level below the last: the states of all tasks and the shared one, for all rows.

        All rows go through the experts of all tasks, as the shared gate mixes them all.
        """
        common = ("shared", level.shared(shared.tokens_BLD))
        own = {task: level.own[task](state.tokens_BLD) for task, state in states.items()}
        extracted = {
            task: self.mixed(prefix + task, level.gates[task], state, [("own", own[task]), common])
            for task, state in states.items()
        }
        every = [*own.items(), common]
        return extracted, self.mixed(prefix + "shared", gate, shared, every)


class Level(nn.Module):
    """The experts of one level, and the gate of each task.

    :param task_experts: Experts of each task.
    :param shared_experts: Experts of all tasks.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        task_experts: int,
        shared_experts: int,
        width: int,
        hidden: int,
    ) -> None:
        super().__init__()
        seen = task_experts + shared_experts
        self.own = nn.ModuleDict({task: Experts(task_experts, width, hidden) for task in tasks})
        self.shared = Experts(shared_experts, width, hidden)
        self.gates = nn.ModuleDict({task: nn.Linear(width, seen, bias=False) for task in tasks})
