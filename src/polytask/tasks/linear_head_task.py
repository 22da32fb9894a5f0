"""Task types whose head scores features by a linear layer, or by one hidden layer before it."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, TypeAlias

from pydantic import Field, PositiveInt
from typing_extensions import override

from polytask.core.errors import DataError
from polytask.tasks.base import Task
from polytask.tasks.labels import LabelSet

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


class LabelSetTask(ScoredTask, ABC):
    """Base of tasks that learn one label set from the labels of parts of rows."""

    labels_name: ClassVar[str]
    """The name of the labels in messages, in the plural."""

    def __init__(self, name: str, /, **options: Any) -> None:
        super().__init__(name, **options)
        self._labels = LabelSet()

    @property
    @override
    def labels(self) -> Sequence[str]:
        return self._labels.names

    def _learn(self, counts: Iterable[str] | Mapping[str, int]) -> None:
        """Learn the label set from labels, one after the other or with their numbers."""
        self._labels = LabelSet.of(counts)
        if not self._labels:
            raise DataError(
                f"task {self.name}: no training row has {self.labels_name} in column "
                f"{self.target_column!r}"
            )

    @override
    def state(self) -> dict[str, Any]:
        return self._labels.state()

    @override
    def restore(self, state: Mapping[str, Any]) -> None:
        self._labels = LabelSet.restore(state)
