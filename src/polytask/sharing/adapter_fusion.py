"""Every task attends to the adapters of all tasks.

Pfeiffer et al., "AdapterFusion: Non-Destructive Task Composition for Transfer Learning", EACL 2021,
section 3.3: h is the output of a feed-forward sub-layer, and z_n the outputs of the N adapters after
it. A task reads sum over n of s_n V z_n, where s = softmax over n of (Q h) . (K z_n). Q, K and V
belong to the task and layer. https://arxiv.org/abs/2005.00247

Deviation: the paper first trains the adapters, each on its task, and then the attention with frozen
adapters. Here both are trained together, so that an adapter is trained by all tasks that attend to it.
V starts as the identity.

z_n = h + u_n, and a term that is equal for all n does not change the softmax. So scores are
(Q h) . (K u_n), and no z_n is stored: memory per adapter grows with the bottleneck, not with D.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import gelu, linear
from typing_extensions import override

from polytask.core.encoder import Encoder
from polytask.sharing.base import architectures
from polytask.sharing.layers import change_output
from polytask.sharing.low_rank import new_down
from polytask.sharing.peft_base import PeftArchitecture, PresentRows
from polytask.sharing.sublayers import sublayer_outputs


@architectures.register("adapter_fusion")
class AdapterFusion(PeftArchitecture):
    """One adapter for each task in every layer; tasks attend to the adapters of all tasks.

    :param bottleneck: Inner width of an adapter.
    """

    cost: ClassVar[str] = (
        "3 x width x width + 2 x width x bottleneck parameters per task and layer; per token the "
        "products with all adapters and with three matrices of its task; the encoder is frozen; "
        "rows that several tasks read are encoded once for each"
    )

    def __init__(
        self,
        encoder: Encoder,
        tasks: Sequence[str],
        /,
        *,
        bottleneck: PositiveInt = 48,
        **options: Any,
    ) -> None:
        super().__init__(encoder, tasks, **options)
        self.fusions = nn.ModuleList()
        for *_, module in sublayer_outputs(encoder):
            fusion = Fusion(self.present, self.tasks, encoder.width, bottleneck)
            self.fusions.append(fusion)
            change_output(module, fusion)

    @override
    def observe(self) -> dict[str, float]:
        """Return how much the rows of each task attended to each adapter, as a mean over the layers."""
        fusions = (fusion for fusion in self.fusions if isinstance(fusion, Fusion))
        seen = [shares for fusion in fusions if (shares := fusion.seen)]
        return {
            f"attention/{task}/{other}": sum(each[task][place] for each in seen) / len(seen)
            for task in (seen[0] if seen else ())
            for place, other in enumerate(self.tasks)
        }


class Fusion(nn.Module):
    """The adapters of one layer, and the attention of each task to them.

    :param present: The rows of the current pass.
    :param width: D of the hidden states.
    :param bottleneck: R, the inner width of an adapter.
    """

    def __init__(
        self, present: PresentRows, tasks: Sequence[str], width: int, bottleneck: int
    ) -> None:
        super().__init__()
        self._present = present
        self._seen: tuple[tuple[str, ...], Tensor, Tensor] | None = None
        self.down = nn.ParameterDict({t: new_down(width, bottleneck) for t in tasks})
        self.inner = nn.ParameterDict({t: nn.Parameter(torch.zeros(bottleneck)) for t in tasks})
        self.up = nn.ParameterDict({t: nn.Parameter(torch.zeros(bottleneck, width)) for t in tasks})
        self.query = nn.ParameterDict({t: new_down(width, width) for t in tasks})
        self.key = nn.ParameterDict({t: new_down(width, width) for t in tasks})
        self.value = nn.ParameterDict({t: nn.Parameter(torch.eye(width)) for t in tasks})

    @override
    def forward(self, hidden_VLD: Tensor) -> Tensor:
        """Return changed hidden states."""
        own = self._present.own
        down_XD, inner_X = (torch.cat([*each.values()]) for each in (self.down, self.inner))
        up_XD = torch.cat([*self.up.values()])
        low_VLNR = gelu(linear(hidden_VLD, down_XD, inner_X)).unflatten(-1, (len(self.up), -1))
        query_VLD = torch.bmm(hidden_VLD, own(self.query).transpose(1, 2))
        sought_VLX = linear(torch.bmm(query_VLD, own(self.key)), up_XD)
        scores_VLN = (sought_VLX.view_as(low_VLNR) * low_VLNR).sum(-1)
        gates_VLN = torch.softmax(scores_VLN, dim=-1)
        if self.training:
            # The places are kept with the means: the next pass replaces ``present``.
            means_VN = gates_VLN.detach().mean(1)
            self._seen = self._present.tasks, self._present.place_V, means_VN
        fused_VLX = (gates_VLN.unsqueeze(-1) * low_VLNR).flatten(2)
        return torch.bmm(hidden_VLD + fused_VLX @ up_XD, own(self.value).transpose(1, 2))

    @property
    def seen(self) -> dict[str, list[float]]:
        """The mean gates of the rows of each task in the last forward pass in training."""
        if self._seen is None:
            return {}
        tasks, place_V, means_VN = self._seen
        return {
            task: means_VN[place_V == place].mean(0).tolist() for place, task in enumerate(tasks)
        }
