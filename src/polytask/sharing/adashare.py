"""Layers that tasks select or skip.

Sun, Panda, Feris and Saenko, "AdaShare: Learning What To Share For Efficient Deep Multi-Task
Learning", NeurIPS 2020, section 3 and figure 2. https://arxiv.org/abs/1911.12423

Deviations: the first layer is never skipped, as its input may have another width. Policies and
weights are learned together, on the same rows, with a constant temperature; policies start close to
selecting everything. The paper first trains only the weights, then widens the policies layer by
layer, and retrains the selected network from scratch. The distance to the policies of absent tasks
counts, but moves only the tasks present, each by its share of the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from polytask.core.collated import Collated
from polytask.core.encoder import Encoder
from polytask.core.features import Features
from polytask.sharing.base import SharedEncoder, architectures
from polytask.sharing.copies import LayerCopies, replace_layers
from polytask.sharing.gumbel import choose
from polytask.sharing.layers import change_hidden
from polytask.sharing.rows import TaskRows, select_rows

_START = 3.0
"""Initial log-odds: a layer is selected in 95 of 100 passes."""


@architectures.register("adashare")
class AdaShare(SharedEncoder):
    """Every task learns which layers of the encoder it selects, and which it skips.

    An encoder without layers, or with one, is shared as a whole.

    :param encoder: A fitted encoder; the architecture owns it.
    :param tasks: Names of the tasks, T of them.
    :param temperature: Temperature of the softmax that gives choices their gradient.
    :param sparsity: Weight of the log-probability of selecting a layer, which makes tasks skip.
    :param sharing: Weight of the distance between the policies of tasks; low layers count most.
    """

    cost: ClassVar[str] = (
        "one parameter per task and layer; rows that several tasks read are encoded once for each"
    )

    def __init__(
        self,
        encoder: Encoder,
        tasks: Sequence[str],
        /,
        *,
        temperature: PositiveFloat = 1.0,
        sparsity: NonNegativeFloat = 0.01,
        sharing: NonNegativeFloat = 0.01,
    ) -> None:
        super().__init__(encoder, tasks)
        self._depth = len(encoder.layers)
        self._policy = Policy()
        if self._depth > 1:
            replace_layers(encoder, lambda place, layer: Skippable(layer, place, self._policy))
        self.odds = nn.ParameterDict(
            {
                task: nn.Parameter(torch.full((self._depth - 1,), _START))
                for task in tasks
                if self._depth > 1
            }
        )
        self._temperature, self._sparsity, self._sharing = temperature, sparsity, sharing
        self._rows: TaskRows | None = None

    @override
    def forward(self, inputs: Collated, rows: Mapping[str, Tensor]) -> dict[str, Features]:
        if not self.odds:
            return select_rows(self.encoder(inputs), rows)
        task_rows = TaskRows.of(rows)
        self._rows = task_rows
        odds_tN = torch.stack([self.odds[task] for task in task_rows.tasks])
        self._policy.selected_VN = self._select(odds_tN)[task_rows.place_V]
        return task_rows.split(self.encoder(inputs.select(task_rows.rows_V)))

    @override
    def penalty(self) -> Tensor | None:
        if self._rows is None:
            return None
        odds_tN = torch.stack([self.odds[task] for task in self._rows.tasks])
        # All policies as targets, detached: absent tasks must get no gradient.
        odds_TN = torch.stack([*self.odds.values()]).detach()
        sparse_t = functional.logsigmoid(odds_tN).sum(1)
        apart_t = distances(odds_tN.sigmoid(), odds_TN.sigmoid(), self._depth)
        shares_t = sparse_t.new_tensor(self._rows.counts) / len(self._rows.rows_V.unique())
        return shares_t @ (self._sparsity * sparse_t + self._sharing * apart_t)

    @override
    def observe(self) -> dict[str, float]:
        return {
            f"selected/{task}/layer_{place + 2}": share
            for task in (self._rows.tasks if self._rows else ())
            for place, share in enumerate(self.odds[task].detach().sigmoid().tolist())
        }

    def _select(self, odds_tN: Tensor) -> Tensor:
        """Return 1 where a task selects a layer, and 0 where it skips the layer."""
        logits_tN2 = torch.stack([odds_tN, torch.zeros_like(odds_tN)], dim=-1)
        selected_tN, _ = choose(logits_tN2, self._temperature, by_chance=self.training).unbind(-1)
        return selected_tN if self.training else selected_tN.detach()


@dataclass
class Policy:
    """The layers after the first that each row in the current pass selects."""

    selected_VN: Tensor = field(default_factory=lambda: torch.zeros(0))


class Skippable(LayerCopies):
    """A layer that some rows skip.

    :param place: Position of the layer in the encoder.
    """

    def __init__(self, layer: nn.Module, place: int, policy: Policy) -> None:
        super().__init__(layer, ["shared"])
        self._place, self._policy = place, policy

    def forward(self, hidden_VLD: Tensor, *arguments: Any, **named: Any) -> Any:
        """Return the output of the layer for rows that select it, and its input for others."""
        [layer] = self.copies.values()
        output = layer(hidden_VLD, *arguments, **named)
        if self._place == 0:
            return output
        selected_V = self._policy.selected_VN[:, self._place - 1].to(hidden_VLD)
        selected_V11 = selected_V[:, None, None]
        # All rows run, and a product selects: the gradient of a choice needs both outcomes.
        skipped_VLD = (1 - selected_V11) * hidden_VLD
        return change_hidden(output, lambda after_VLD: selected_V11 * after_VLD + skipped_VLD)


def distances(selected_tN: Tensor, selected_TN: Tensor, depth: int) -> Tensor:
    """Return the sum of the distances of each of t policies to all T policies, distances_t.

    :param selected_tN: Probabilities of selecting each layer but the first.
    :param depth: Number of layers, L: the distance at layer l counts (L - l) / L.
    """
    layer_N = torch.arange(2, depth + 1, device=selected_tN.device)
    apart_tTN = (selected_tN.unsqueeze(1) - selected_TN).abs()
    return ((1 - layer_N / depth) * apart_tTN).sum((1, 2))
