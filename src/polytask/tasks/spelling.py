"""Labels that people wrote in several spellings."""

from __future__ import annotations

from abc import ABC
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from typing_extensions import override

from polytask.core.errors import RecipeError
from polytask.tasks.base import Task
from polytask.tasks.labels import label_form, label_order, label_text, near_equal_groups

_SHOWN = 3
"""Number of groups of nearly equal labels that a note names."""


class SpelledTask(Task, ABC):
    """Base of tasks whose labels are names that people wrote.

    :param merge_labels: Read labels that differ only in case, white space or Unicode form as one
        label, in its most frequent spelling. Otherwise they are different labels, and a note
        names them.
    """

    def __init__(self, name: str, /, *, merge_labels: bool = False, **options: Any) -> None:
        super().__init__(name, **options)
        self.merge_labels = merge_labels
        self._fixed: tuple[str, ...] = ()
        self._spellings: dict[str, str] = {}
        self._near: list[list[tuple[str, int]]] = []

    @override
    def notes(self) -> Sequence[str]:
        if not self._near:
            return ()
        groups = [" and ".join(map(_describe_count, group)) for group in islice(self._near, _SHOWN)]
        more = len(self._near) - _SHOWN
        shown = "; ".join(groups) + (f"; … and {more} more" if more > 0 else "")
        alike = "differ only in case, white space or Unicode form"
        if self.merge_labels:
            return (f"Labels that {alike} are read as one, the first of each group: {shown}.",)
        return (
            f"Labels that {alike} are different labels: {shown}. To read each group as one label, "
            "set merge_labels: true.",
        )

    def _fix(self, names: Iterable[str], option: str) -> None:
        """Fix the spelling of names that an option of the recipe lists.

        :raises RecipeError: If two of them are one label.
        """
        self._fixed = tuple(names)
        groups = near_equal_groups(self._fixed) if self.merge_labels else []
        if groups:
            found = " and ".join(map(repr, groups[0]))
            raise RecipeError(
                [
                    f"tasks.{self.name}.{option}: {found} are one label where merge_labels is set. "
                    "Keep one of them."
                ]
            )
        self._keep(self._fixed)

    def _keep(self, names: Iterable[str]) -> None:
        """Make these the spellings that labels are read in."""
        self._spellings = {label_form(name): name for name in (*names, *self._fixed)}

    def _restore_spellings(self, labels: Iterable[str]) -> None:
        """Read labels in the spellings of a label set that was restored."""
        self._keep(self._parts(label)[1] for label in labels)

    def _parts(self, label: str) -> tuple[str, str]:
        """Return the prefix of a label that is no part of its name, and the name."""
        return "", label

    def _label(self, value: Any) -> str:
        """Return a label as text, in the spelling of the label set.

        :raises DataError: If the value is no label.
        """
        return self._respell(label_text(value))

    def _respell(self, label: str) -> str:
        if not self.merge_labels:
            return label
        prefix, name = self._parts(label)
        return prefix + self._spellings.get(label_form(name), name)

    def _merge(self, counts: Mapping[str, int]) -> Counter[str]:
        """Learn spellings from the labels of training rows; return the counts of what they become."""
        names = Counter[str](dict.fromkeys(self._fixed, 0))
        for label, count in counts.items():
            names[self._parts(label)[1]] += count

        def rank(name: str) -> tuple[bool, int, tuple[bool, float, str]]:
            return name not in self._fixed, -names[name], label_order(name)

        groups = [sorted(group, key=rank) for group in near_equal_groups(names)]
        self._near = [[(name, names[name]) for name in group] for group in groups]
        self._keep([*names, *(group[0] for group in groups)])
        merged = Counter[str]()
        for label, count in counts.items():
            merged[self._respell(label)] += count
        return merged


def _describe_count(spelling: tuple[str, int]) -> str:
    label, count = spelling
    times = "once" if count == 1 else f"{count} times"
    return f"{label!r} ({times if count else 'in the recipe'})"
