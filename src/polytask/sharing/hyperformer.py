"""Adapters whose weights a shared network generates from vectors of the task and the place.

Karimi Mahabadi et al., "Parameter-efficient Multi-task Fine-tuning for Transformers via Shared
Hypernetworks", ACL 2021, section 2 (HyperFormer++): a projector turns the vectors of task, layer
and position into one; shared linear hypernetworks turn this into the weights of an adapter after
each sub-layer. https://arxiv.org/abs/2106.04489

Deviations: one vector stands for layer and position; the hypernetworks generate no norms. The
hypernetwork of the upper weights starts at zero, so that all adapters start as the identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from typing_extensions import override

from polytask.core.encoder import Encoder
from polytask.sharing.base import architectures
from polytask.sharing.bottleneck import adapt
from polytask.sharing.layers import change_output
from polytask.sharing.peft_base import PeftArchitecture, PresentRows
from polytask.sharing.sublayers import sublayer_outputs


@architectures.register("hyperformer")
class HyperFormer(PeftArchitecture):
    """A shared hypernetwork generates the adapters of all tasks and layers.

    :param bottleneck: Inner width of an adapter.
    :param embedding: Width of the vectors of tasks and places.
    """

    cost: ClassVar[str] = (
        "2 x width x bottleneck x embedding shared parameters, one vector per task; adapters after "
        "every sub-layer, generated in each step; the encoder is frozen; rows that several tasks "
        "read are encoded once for each"
    )

    def __init__(
        self,
        encoder: Encoder,
        tasks: Sequence[str],
        /,
        *,
        bottleneck: PositiveInt = 16,
        embedding: PositiveInt = 32,
        **options: Any,
    ) -> None:
        super().__init__(encoder, tasks, **options)
        places = [module for outputs in sublayer_outputs(encoder) for module in outputs]
        sizes = (embedding, encoder.width, bottleneck)
        self.maker = AdapterMaker(self.present, self.tasks, len(places), sizes)
        for place, module in enumerate(places):
            change_output(module, partial(_adapt_hidden, self.maker, place))


class AdapterMaker(nn.Module):
    """A hypernetwork that generates the weights of adapters.

    :param present: The rows of the current pass.
    :param places: Number of adapters of a task.
    :param sizes: Width E of a vector, D of hidden states, and the bottleneck R.
    """

    def __init__(
        self, present: PresentRows, tasks: Sequence[str], places: int, sizes: tuple[int, int, int]
    ) -> None:
        super().__init__()
        embedding, width, bottleneck = sizes
        self._present = present
        self.task = nn.ParameterDict({t: nn.Parameter(torch.randn(embedding)) for t in tasks})
        self.place = nn.Parameter(torch.randn(places, embedding))
        self.project = nn.Sequential(
            nn.Linear(2 * embedding, embedding), nn.ReLU(), nn.Linear(embedding, embedding)
        )
        self.down = nn.Linear(embedding, bottleneck * width, bias=False)
        self.inner = nn.Linear(embedding, bottleneck, bias=False)
        self.up = nn.Linear(embedding, bottleneck * width, bias=False)
        self.outer = nn.Linear(embedding, width, bias=False)
        nn.init.normal_(self.down.weight, std=(embedding * width) ** -0.5)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.outer.weight)
        self._shape = (bottleneck, width)

    @override
    def forward(self, place: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the weights of one adapter for each of V rows, in the order of ``adapt``."""
        # For each row, not once for each task: the engine computes the gradient of a task from the
        # rows that the task sent through a layer.
        task_VE = self._present.own(self.task)
        vector_VE = self.project(torch.cat([task_VE, self.place[place].expand_as(task_VE)], dim=-1))
        down_VRD = self.down(vector_VE).unflatten(-1, self._shape)
        up_VRD = self.up(vector_VE).unflatten(-1, self._shape)
        return down_VRD, self.inner(vector_VE), up_VRD, self.outer(vector_VE)


def _adapt_hidden(maker: nn.Module, place: int, hidden_VLD: Tensor) -> Tensor:
    return adapt(hidden_VLD, *maker(place))
