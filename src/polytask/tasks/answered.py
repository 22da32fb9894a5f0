"""Rows of a source with the predictions of a task, for official files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from polytask.core.batch import Fields, Row


@dataclass(frozen=True)
class AnsweredRow:
    """A row that a task has predicted.

    :param row: All columns of the row.
    :param fields: Its input fields.
    :param reference: Its label; None if it has none.
    """

    row: Row
    fields: Fields
    reference: Any | None
    prediction: Any
