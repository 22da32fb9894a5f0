"""Accounts of rows: how many were read, how many are used, and why the others are left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, TypeAlias

NO_COLUMN = "no such column"
NO_LABEL = "no label"
LEAK = "dropped as a leak"
BEYOND_LIMIT = "beyond the limit"
NO_WEIGHT = "weight 0"
UNKNOWN_LABEL = "label unknown from training"
CUT = "cut off by the encoder"
NOT_ALIGNED = "cannot be aligned with tokens"
NOT_IN_TEXT = "not found in the text"
"""The usual reasons why a row is not used for a task."""


SHOWN_TASKS = 12
"""Most tasks whose accounts are printed when a training starts; records and reports have all."""

Place: TypeAlias = Callable[[], str]
"""Returns the place of a row, ``file:line``; called for the first row of a group only."""


@dataclass(frozen=True)
class LeftOut:
    """A label that cannot be learned from; ``Task.encode`` returns it in place of a target.

    :param reason: A short text, equal for all rows with this reason.
    """

    reason: str


@dataclass
class Group:
    """A group of rows with one reason or remark.

    :param rows: Number of rows.
    :param example: The place of the first row, ``file:line``.
    """

    rows: int
    example: str


@dataclass
class Account:
    """The rows of one task in one split: ``rows == used + sum of left_out`` always holds.

    :param rows: Rows of the sources of the task.
    :param used: Rows that are learned from (train) or scored (validation, test).
    :param left_out: The other rows by reason.
    :param remarks: Used rows to check, by remark: cut, or with a corrected label.
    """

    rows: int = 0
    used: int = 0
    left_out: dict[str, Group] = field(default_factory=dict)
    remarks: dict[str, Group] = field(default_factory=dict)

    def use(self) -> None:
        """Count one row that is used."""
        self.rows += 1
        self.used += 1

    def leave_out(self, reason: str, place: Place, rows: int = 1) -> None:
        """Count rows that are not used.

        :param place: Returns the place of the first row.
        """
        self.rows += rows
        _count(self.left_out, reason, place, rows)

    def remark(self, text: str, place: Place) -> None:
        """Count one used row to check."""
        _count(self.remarks, text, place, 1)

    def add(self, other: Account) -> None:
        """Add the rows of another source."""
        self.rows += other.rows
        self.used += other.used
        for mine, theirs in ((self.left_out, other.left_out), (self.remarks, other.remarks)):
            for text, group in theirs.items():
                _count(mine, text, partial(str, group.example), group.rows)

    def record(self) -> dict[str, Any]:
        """Return the account as JSON."""
        return asdict(self)


Accounts = Mapping[str, Mapping[str, Account]]
"""Task to split to account."""


def records(accounts: Accounts) -> dict[str, Any]:
    """Return accounts as JSON: task to split to record."""
    return {
        task: {split: own.record() for split, own in splits.items()}
        for task, splits in accounts.items()
    }


def account_lines(accounts: Accounts, most: int | None = None) -> Iterator[str]:
    """Format accounts for a terminal: a line per task, followed by the reasons of left-out rows.

    :param most: Most tasks to show, tasks with left-out rows first; None for all.
    """
    names = [*accounts]
    if most is not None and len(names) > most:
        names = sorted(
            names, key=lambda task: not any(map(_is_remarkable, accounts[task].values()))
        )
    width = max(map(len, names), default=0)
    for task in names[:most]:
        used = [f"{split} {own.used:,} of {own.rows:,}" for split, own in accounts[task].items()]
        yield f"{task:<{width}}  {', '.join(used) or 'no rows'}"
        for split, own in accounts[task].items():
            yield from (f"    {split}: {text}" for text in reasons(own.record()))
    if len(names[:most]) < len(names):
        yield f"... and {len(names) - len(names[:most])} more tasks."


def _is_remarkable(account: Account) -> bool:
    return bool(account.left_out or account.remarks)


def reasons(record: Mapping[str, Any]) -> Iterator[str]:
    """Format the reasons and remarks of an account.

    :param record: The record of an ``Account``.
    """
    for text, group in record["left_out"].items():
        yield f"{group['rows']:,} left out, {text}, as {group['example']}"
    for text, group in record["remarks"].items():
        yield f"{group['rows']:,} used, but {text}, as {group['example']}"


def _count(groups: dict[str, Group], text: str, place: Place, rows: int) -> None:
    if text in groups:
        groups[text].rows += rows
    elif rows:
        groups[text] = Group(rows, place())
