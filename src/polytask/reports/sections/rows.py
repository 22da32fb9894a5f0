"""The number of used rows of every task, and the reasons for leaving rows out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from polytask.reports.cells import Cell, SortableTable
from polytask.reports.formats import NOTHING
from polytask.reports.report_data import ReportData
from polytask.reports.sections.base import Section, fill_template
from polytask.reports.wording import Phrase, dictionary, phrase

_UNFILTERED = 8
"""Largest number of rows of a table without a filter."""

_COLUMNS = ("task", "split", "rows", "used", "concerned", "reason", "example")


def rows(report: ReportData) -> Section | None:
    """Return the number of rows of every task and split, with each reason for leaving rows out."""
    facts = report.trained[0].facts if report.record is None else report.record
    cells = [
        line
        for task, splits in (facts.get("rows") or {}).items()
        for split, record in splits.items()
        for line in _lines(task, split, record)
    ]
    if not cells:
        return None
    head = [phrase(f"column.{name}") for name in _COLUMNS]
    table = SortableTable("rows", head, cells, filtered=len(cells) > _UNFILTERED)
    return Section("rows", fill_template("rows.html", table=table))


def _lines(task: str, split: str, record: Mapping[str, Any]) -> Iterator[list[Cell]]:
    counts = [Cell(f"{record[key]:,}", record[key]) for key in ("rows", "used")]
    start = [Cell(task), Cell(split), *counts]
    groups = [
        (_reason(kind, text), group)
        for kind in ("left_out", "remarks")
        for text, group in record.get(kind, {}).items()
    ]
    for reason, group in groups:
        concerned = Cell(f"{group['rows']:,}", group["rows"])
        yield [*start, concerned, Cell(reason), Cell(str(group["example"]))]
    if not groups:
        yield [*start, Cell("0", 0), Cell(NOTHING), Cell(NOTHING)]


def _reason(kind: str, text: str) -> Phrase:
    """Return a reason in every language; one that the dictionary lacks stays as it is."""
    known: Mapping[str, str] = dictionary().get(f"reason.{text}", {})
    whole = phrase(f"rows.{kind}", reason="{reason}")
    return Phrase(
        {name: own.format(reason=known.get(name, text)) for name, own in whole.texts.items()}
    )
