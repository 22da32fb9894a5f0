"""Task types whose head scores features by a linear layer, or by one hidden layer before it."""

from __future__ import annotations

from abc import ABC
from typing import Annotated, Any, TypeAlias

from pydantic import Field, PositiveInt
from typing_extensions import override

from polytask.tasks.base import Task

Share: TypeAlias = Annotated[float, Field(ge=0, lt=1)]


class ScoredTask(Task, ABC):
    """Scores of features, of whichever tokens they are; see ``heads.scorer``.

    :param dropout: Share of the features that the head drops in training.
    :param hidden: Width of a hidden layer of the head; a linear head by default.
    """

    def __init__(
        self,
        name: str,
        /,
        *,
        dropout: Share = 0.1,
        hidden: PositiveInt | None = None,
        **options: Any,
    ) -> None:
        super().__init__(name, **options)
        self.dropout, self.hidden = dropout, hidden

    @property
    @override
    def head_shape(self) -> dict[str, Any]:
        return {**super().head_shape, "dropout": self.dropout, "hidden": self.hidden}
