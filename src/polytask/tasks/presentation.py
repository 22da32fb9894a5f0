"""How labels and heads are presented to people."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from polytask.core.batch import Row

_LISTED = 5
"""How many labels a message lists."""


class Presentation(ABC):
    """Part of the interface of a task: its labels and its head in messages."""

    label_name: ClassVar[str] = "label"
    """What messages call that which ``shown`` returns."""

    def shown(self, label: Any, row: Row) -> list[str]:
        """Return every part of a label in words that the author of the row knows."""
        return [repr(part) for part in (label if isinstance(label, list) else [label])]

    @property
    @abstractmethod
    def head_shape(self) -> dict[str, Any]:
        """What tasks must agree on to share one head."""

    def head_differences(self, other: Mapping[str, Any]) -> str:
        """Return how the head differs from one of another shape, in words."""
        one = self.head_shape
        keys = [key for key in {**one, **other} if one.get(key) != other.get(key)]
        pairs = ((key, _join_names(one.get(key)), _join_names(other.get(key))) for key in keys)
        return "; ".join(f"{key} {own} here, {others} there" for key, own, others in pairs)


def _join_names(value: Any) -> str:
    if not isinstance(value, list):
        return "none" if value is None else str(value)
    names = [str(one) for one in value[:_LISTED]]
    return ", ".join([*names, *["..."][: len(value) - len(names)]]) or "none"
