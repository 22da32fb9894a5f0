"""Experts of each task beside shared ones.

Tang, Liu, Zhao and Gong, "Progressive Layered Extraction (PLE): A Novel Multi-Task Learning (MTL)
Model for Personalized Recommendations", RecSys 2020, section 4.1 and figure 4.
https://doi.org/10.1145/3383313.3412236

Deviations: experts read the features of an encoder, and add to them; gates may decide for every
token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from polytask.core.encoder import Encoder
from polytask.sharing.base import architectures
from polytask.sharing.extraction import ExtractionLevels


@architectures.register("cgc")
class CustomizedGateControl(ExtractionLevels):
    """Every task mixes experts of its own with experts of all, by a softmax gate.

    An expert of a task runs on the rows of that task alone.

    :param encoder: A fitted encoder; the architecture owns it.
    :param tasks: Names of the tasks, T of them.
    """

    cost: ClassVar[str] = (
        "2 x width x hidden parameters per expert, of a task or shared; per token the products with "
        "the shared experts and with those of its task"
    )

    def __init__(self, encoder: Encoder, tasks: Sequence[str], /, **options: Any) -> None:
        super().__init__(encoder, tasks, 1, **options)
