"""Adapters of each task inside a frozen encoder.

Houlsby et al., "Parameter-Efficient Transfer Learning for NLP", ICML 2019, section 2.1 and figure
2: an adapter after each of the two sub-layers, before its output is added to the hidden states; norms
are private as well. https://arxiv.org/abs/1902.00751
Pfeiffer et al., "AdapterFusion: Non-Destructive Task Composition for Transfer Learning", EACL 2021,
section 3.2.1 and figure 5: one adapter in each layer, after the feed-forward sub-layer.
https://arxiv.org/abs/2005.00247

Deviations: adapters start exactly as the identity; in the papers they start near it. Both use GELU.
An adapter reads the output of a projection before the dropout that follows. A private norm is a scale
and a shift of the output of the frozen norm, which is the same family of functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import PositiveInt
from torch import nn

from polytask.core.encoder import Encoder
from polytask.sharing.base import architectures
from polytask.sharing.bottleneck import OwnAdapter, OwnNorm
from polytask.sharing.layers import change_output
from polytask.sharing.peft_base import PeftArchitecture
from polytask.sharing.sublayers import norms, sublayer_outputs


@architectures.register("adapter")
class Adapter(PeftArchitecture):
    """Every task has private small networks inside the layers of one frozen encoder.

    :param placement: ``houlsby``: after both sub-layers of a layer, with private norms;
        ``pfeiffer``: after the second sub-layer only.
    :param bottleneck: Inner width of an adapter.
    """

    cost: ClassVar[str] = (
        "2 x width x bottleneck parameters per task and adapter, one or two adapters a layer, and "
        "as many products per token; the encoder is frozen; rows that several tasks read are "
        "encoded once for each"
    )

    def __init__(
        self,
        encoder: Encoder,
        tasks: Sequence[str],
        /,
        *,
        placement: Literal["houlsby", "pfeiffer"] = "pfeiffer",
        bottleneck: PositiveInt = 48,
        **options: Any,
    ) -> None:
        super().__init__(encoder, tasks, **options)
        self.adapters, self.norms = nn.ModuleList(), nn.ModuleList()
        kept = slice(None) if placement == "houlsby" else slice(-1, None)
        for outputs in sublayer_outputs(encoder):
            for module in outputs[kept]:
                adapter = OwnAdapter(self.present, self.tasks, encoder.width, bottleneck)
                self.adapters.append(adapter)
                change_output(module, adapter)
        for norm in norms(encoder) if placement == "houlsby" else ():
            own = OwnNorm(self.present, self.tasks, encoder.width)
            self.norms.append(own)
            change_output(norm, own)
