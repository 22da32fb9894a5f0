"""Experts: small networks over hidden states, which gates mix.

What architectures with experts have in common. An expert adds to what it reads, and at the start it
adds nothing: then any mixture is what the encoder gives.
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
from polytask.sharing.base import Architecture
from polytask.sharing.rows import TaskRows

Reads = Literal["token", "sentence"]
"""What a gate decides for: every token by itself, or a row by the mean of its tokens."""


class Expert(nn.Module):
    """A feed-forward network with one hidden layer, which adds to what it reads.

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
        """What each of them gives: BLED."""
        return torch.stack([expert(hidden_BLD) for expert in self], dim=-2)


class GatedExperts(Architecture, ABC):
    """Base of architectures with experts above one encoder.

    :param encoder: A fitted encoder; the architecture owns it.
    :param tasks: Names of the tasks, T of them.
    :param hidden: Number of units of an expert.
    :param gate: Whether experts are mixed for every token, or alike for all tokens of a row. With
        ``sentence`` a decoder sees what is still to come.
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
        self.encoder = encoder
        self.hidden = hidden
        self.gate = gate
        self._seen: dict[str, Tensor] = {}

    @override
    def encoder_of(self, task: str) -> Encoder:
        return self.encoder

    @override
    def observed(self) -> dict[str, float]:
        return {name: float(share) for name, share in self._seen.items()}

    def mixed(
        self, name: str, gate: nn.Module, state: Features, experts: Sequence[tuple[str, Tensor]]
    ) -> Features:
        """What a softmax gate makes of what experts give.

        :param name: Of the gate.
        :param state: What the gate decides by.
        :param experts: Groups of them: name of the group, and BLED.
        """
        read = read_by_gates(state, self.gate)
        gates = replace(read, tokens_BLD=gate(read.tokens_BLD).softmax(-1))
        self.see({name: gates}, [one for group, given in experts for one in numbered(group, given)])
        experts_BLED = torch.cat([given_BLED for _, given_BLED in experts], dim=-2)
        return replace(state, tokens_BLD=mix(gates.tokens_BLD, experts_BLED))

    def see(self, gates: Mapping[str, Features], experts: Sequence[str]) -> None:
        """Remember, in training, what gates give to experts in the mean over the rows.

        :param gates: E numbers per token or row, by the name of the gate.
        :param experts: Their names.
        """
        if self.training:
            for gate, shares in gates.items():
                shares_E = shares.mean_BD.detach().mean(0)
                names = [f"gate/{gate}/{expert}" for expert in experts]
                self._seen.update(zip(names, shares_E, strict=True))

    def forget(self) -> None:
        """Forget the gates of the pass before."""
        self._seen = {}


def numbered(group: str, experts_BLED: Tensor) -> list[str]:
    """The names of the experts of a group."""
    return [f"{group}_{place + 1}" for place in range(experts_BLED.shape[-2])]


def read_by_gates(features: Features, reads: Reads) -> Features:
    """What a gate decides by."""
    if reads == "token":
        return features
    mean_B1D = features.mean_BD.unsqueeze(1)
    return Features(mean_B1D, torch.ones_like(features.mask_BL[:, :1]))


def by_task(layers: nn.ModuleDict, rows: TaskRows, read_VLD: Tensor) -> Tensor:
    """Put each row through the linear layer of its task, all in one product.

    :param layers: For each task one without bias.
    """
    weights_tED = torch.stack([layers[task].get_parameter("weight") for task in rows.tasks])
    return torch.bmm(read_VLD, weights_tED[rows.place_V].transpose(1, 2))


def mix(gates_BLE: Tensor, experts_BLED: Tensor) -> Tensor:
    """The sum of what the experts give, each times its gate: BLD.

    :param gates_BLE: With one token for all, too.
    """
    return (gates_BLE.unsqueeze(-1) * experts_BLED).sum(-2)
