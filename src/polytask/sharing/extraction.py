"""Shared experts and experts of each task, on one level (CGC) or several (PLE).

Tang, Liu, Zhao and Gong, "Progressive Layered Extraction (PLE): A Novel Multi-Task Learning (MTL)
Model for Personalized Recommendations", RecSys 2020, sections 4.1 and 4.2, figures 4 and 5.
https://doi.org/10.1145/3383313.3412236

Deviations: experts read the features of an encoder, and add to them. A gate can also mix the experts
for every token.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field, PositiveInt
from torch import Tensor, nn
from typing_extensions import override

from polytask.core.collated import Collated
from polytask.core.encoder import Encoder
from polytask.core.features import Features
from polytask.sharing.base import architectures
from polytask.sharing.experts import Experts, GatedExperts


class ExtractionLevels(GatedExperts, ABC):
    """Base of architectures in which tasks mix private experts with shared ones, level by level.

    :param levels: Number of levels.
    :param task_experts: Private experts of each task on a level.
    :param shared_experts: Shared experts on a level.
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
        self._seen = {}
        *lower, top = self._levels
        for place, (level, gate) in enumerate(zip(lower, self.shared_gates, strict=True)):
            states, shared = self._extract(f"level_{place + 1}/", level, gate, states, shared)
        # On the last level no shared gate reads the experts of a task, so they run on its rows only.
        prefix = f"level_{len(self._levels)}/" if lower else ""
        shared_BLED = top.shared(shared.tokens_BLD)
        found = {}
        for task, rows_b in rows.items():
            own = states[task].select(rows_b)
            own_bLED = top.own[task](own.tokens_BLD)
            experts = [("own", own_bLED), ("shared", shared_BLED.index_select(0, rows_b))]
            found[task] = self.mix_by_gate(prefix + task, top.gates[task], own, experts)
        return found

    def _extract(
        self,
        prefix: str,
        level: Level,
        gate: nn.Module,
        states: Mapping[str, Features],
        shared: Features,
    ) -> tuple[dict[str, Features], Features]:
        """Return the states of all tasks and the shared state after a level below the last.

        All rows go through the experts of all tasks, as the shared gate mixes all experts.
        """
        common = ("shared", level.shared(shared.tokens_BLD))
        own = {task: level.own[task](state.tokens_BLD) for task, state in states.items()}
        extracted = {
            task: self.mix_by_gate(
                prefix + task, level.gates[task], state, [("own", own[task]), common]
            )
            for task, state in states.items()
        }
        every = [*own.items(), common]
        return extracted, self.mix_by_gate(prefix + "shared", gate, shared, every)


@architectures.register("cgc")
class CustomizedGateControl(ExtractionLevels):
    """Every task mixes private experts with shared ones, by a softmax gate.

    An expert of a task runs on the rows of that task only.
    """

    cost: ClassVar[str] = (
        "2 x width x hidden parameters per expert, private or shared; per token the products with "
        "the shared experts and the private experts of its task"
    )

    def __init__(self, encoder: Encoder, tasks: Sequence[str], /, **options: Any) -> None:
        super().__init__(encoder, tasks, 1, **options)


@architectures.register("ple")
class ProgressiveLayeredExtraction(ExtractionLevels):
    """Levels of ``cgc``; between them, a shared gate mixes the experts of all tasks.

    Below the last level, the experts of a task thus influence all tasks. On the last level they are
    private, and run on the rows of their task only.

    :param levels: Number of levels; one level would be ``cgc``.
    """

    cost: ClassVar[str] = (
        "2 x width x hidden parameters per expert and level, private or shared; below the last "
        "level per token the products with the experts of all tasks"
    )

    def __init__(
        self,
        encoder: Encoder,
        tasks: Sequence[str],
        /,
        *,
        levels: Annotated[int, Field(ge=2)] = 2,
        **options: Any,
    ) -> None:
        super().__init__(encoder, tasks, levels, **options)


class Level(nn.Module):
    """The experts of one level, and the gate of each task.

    :param task_experts: Private experts of each task.
    :param shared_experts: Shared experts.
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
