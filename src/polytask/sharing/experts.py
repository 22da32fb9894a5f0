"""Experts: small networks over hidden states, mixed by gates.

An expert adds to its input, and adds nothing before the first update. Then any mixture is equal to the
features of the encoder.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from typing_extensions import override

from polytask.core.encoder import Encoder
from polytask.core.features import Features
from polytask.sharing.base import SharedEncoder
from polytask.sharing.rows import TaskRows

Reads = Literal["token", "sentence"]
"""The input of a gate: every token by itself, or the mean of the tokens of a row."""


class Expert(nn.Module):
    """A feed-forward network with one hidden layer, which adds to its input.

    :param width: Width of a hidden state.
    :param hidden: Number of units.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, hidden)
        self.output = nn.Linear(hidden, width)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, hidden_BLD: Tensor) -> Tensor:
        """Hidden states to hidden states."""
        added_BLD: Tensor = self.output(torch.relu(self.inner(hidden_BLD)))
        return hidden_BLD + added_BLD


class Experts(nn.ModuleList):
    """E experts that read the same hidden states.

    :param width: Width of a hidden state.
    :param hidden: Number of units of each.
    """

    def __init__(self, count: int, width: int, hidden: int) -> None:
        super().__init__(Expert(width, hidden) for _ in range(count))

    def forward(self, hidden_BLD: Tensor) -> Tensor:
        """Return the output of each expert, BLED."""
        return torch.stack([expert(hidden_BLD) for expert in self], dim=-2)


class GatedExperts(SharedEncoder, ABC):
    """Base of architectures with experts above one encoder.

    :param encoder: A fitted encoder; the architecture owns it.
    :param tasks: Names of the tasks, T of them.
    :param hidden: Number of units of an expert.
    :param gate: ``token``: a gate mixes the experts for every token; ``sentence``: once for all
        tokens of a row, so that a decoder sees later tokens.
    """

    def __init__(
        self,
        encoder: Encoder,
        tasks: Sequence[str],
        /,
        *,
        hidden: PositiveInt = 128,
        gate: Reads = "token",
    ) -> None:
        super().__init__(encoder, tasks)
        self.hidden = hidden
        self.gate = gate
        self._seen: dict[str, Tensor] = {}

    @override
    def observe(self) -> dict[str, float]:
        return {name: float(share) for name, share in self._seen.items()}

    def mix_by_gate(
        self, name: str, gate: nn.Module, state: Features, experts: Sequence[tuple[str, Tensor]]
    ) -> Features:
        """Return the mixture of experts by a softmax gate.

        :param name: Name of the gate.
        :param state: Features that the gate reads.
        :param experts: Groups of experts: the name of the group, and the outputs BLED.
        """
        read = gate_inputs(state, self.gate)
        gates = replace(read, tokens_BLD=gate(read.tokens_BLD).softmax(-1))
        self.record(
            {name: gates}, [n for group, given in experts for n in expert_names(group, given)]
        )
        experts_BLED = torch.cat([given_BLED for _, given_BLED in experts], dim=-2)
        return replace(state, tokens_BLD=mix(gates.tokens_BLD, experts_BLED))

    def mix_by_task(
        self, rows: TaskRows, own: Features, gates: Features, experts_VLED: Tensor
    ) -> dict[str, Features]:
        """Return for each task the mixture of experts by its gate.

        :param own: Features of the V rows.
        :param gates: The weights of the experts, VLE.
        """
        self._seen = {}
        self.record(rows.split(gates), expert_names("expert", experts_VLED))
        return rows.split(replace(own, tokens_BLD=mix(gates.tokens_BLD, experts_VLED)))

    def record(self, gates: Mapping[str, Features], experts: Sequence[str]) -> None:
        """Record the mean weights of experts over the rows, in training only.

        :param gates: E weights per token or row, by the name of the gate.
        :param experts: Names of the experts.
        """
        if self.training:
            for gate, shares in gates.items():
                shares_E = shares.mean_BD.detach().mean(0)
                names = [f"gate/{gate}/{expert}" for expert in experts]
                self._seen.update(zip(names, shares_E, strict=True))


def expert_names(group: str, experts_BLED: Tensor) -> list[str]:
    """Return the names of the experts of a group."""
    return [f"{group}_{place + 1}" for place in range(experts_BLED.shape[-2])]


def gate_inputs(features: Features, reads: Reads) -> Features:
    """Return the features that a gate reads."""
    if reads == "token":
        return features
    mean_B1D = features.mean_BD.unsqueeze(1)
    return Features(mean_B1D, torch.ones_like(features.mask_BL[:, :1]))


def mix(gates_BLE: Tensor, experts_BLED: Tensor) -> Tensor:
    """Return the sum of the outputs of the experts, each times its weight, BLD.

    :param gates_BLE: The weight of each expert; with L = 1, the same for all tokens.
    """
    return (gates_BLE.unsqueeze(-1) * experts_BLED).sum(-2)
