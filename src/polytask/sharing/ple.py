"""Levels of experts of each task beside shared ones.

Tang, Liu, Zhao and Gong, "Progressive Layered Extraction (PLE): A Novel Multi-Task Learning (MTL)
Model for Personalized Recommendations", RecSys 2020, section 4.2 and figure 5.
https://doi.org/10.1145/3383313.3412236

Deviations: experts read the features of an encoder, and add to them; gates may decide for every
token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field

from polytask.core.encoder import Encoder
from polytask.sharing.base import architectures
from polytask.sharing.extraction import ExtractionLevels


@architectures.register("ple")
class ProgressiveLayeredExtraction(ExtractionLevels):
    """Levels of ``cgc``; between them, a shared gate mixes the experts of all tasks.

    So what the experts of a task find below the last level reaches all tasks. Those of the last
    level are its own, and run on its rows alone.

    :param encoder: A fitted encoder; the architecture owns it.
    :param tasks: Names of the tasks, T of them.
    :param levels: Number of levels; with one it would be ``cgc``.
    """

    cost: ClassVar[str] = (
        "2 x width x hidden parameters per expert and level, of a task or shared; below the last "
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
