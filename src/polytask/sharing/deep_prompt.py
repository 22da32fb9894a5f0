"""Learned vectors of each task in front of the hidden states of each layer.

Liu et al., "P-Tuning v2: Prompt Tuning Can Be Comparable to Fine-tuning Universally Across Scales
and Tasks", ACL 2022, section 3.2. https://arxiv.org/abs/2110.07602
Jia et al., "Visual Prompt Tuning", ECCV 2022, section 3.2 ("deep"): every layer has separate learned
tokens, and its output for them is discarded. https://arxiv.org/abs/2203.12119

Prefix tuning (Li and Liang, ACL 2021. https://arxiv.org/abs/2101.00190) learns the keys and values
of each layer. Their form differs between encoders, so here the frozen layer computes them from learned
hidden states. In an encoder without attention, learned states come first in the sequence. An encoder
without layers has learned tokens only. Without a table of token vectors, a vector of the task is added
to the features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import nn

from polytask.core.encoder import Encoder
from polytask.sharing.base import architectures
from polytask.sharing.per_task import new_parameters
from polytask.sharing.prompt_base import PromptArchitecture

_SPREAD = 0.1  # standard deviation of new vectors


@architectures.register("deep_prompt")
class DeepPrompt(PromptArchitecture):
    """Every task has learned vectors in front of the hidden states of each frozen layer."""

    cost: ClassVar[str] = (
        "length x width parameters per task and layer; texts are longer by length; the encoder is "
        "frozen; rows that several tasks read are encoded once for each"
    )

    def __init__(self, encoder: Encoder, tasks: Sequence[str], /, **options: Any) -> None:
        super().__init__(encoder, tasks, **options)
        self.deep = nn.ModuleList()
        for layer in encoder.layers[:-1]:
            shape = (self.length, encoder.width)
            starts = [_SPREAD * torch.randn(shape) for _ in self.tasks]
            vectors = new_parameters(self.tasks, starts)
            self.deep.append(vectors)
            self.replace(layer, vectors)
