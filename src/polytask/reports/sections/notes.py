"""The method, the data and the versions behind the numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from polytask.reports.cells import Cell, SortableTable
from polytask.reports.formats import clip
from polytask.reports.report_data import ReportData
from polytask.reports.sections.base import Section, fill_template
from polytask.reports.summary import Record
from polytask.reports.wording import Text, phrase

_HASH = 12


def notes(report: ReportData) -> Section | None:
    """Return the method in sentences, the hashes of the data, leaks, and versions."""
    facts = report.trained[0].facts if report.trained else {}
    data = (report.record or facts).get("data", {})
    path = report.folder / "recipe.yaml"
    recipe = path.read_text(encoding="utf-8") if path.is_file() else ""
    said: list[Text] = [*_method(report), *map(str, facts.get("notes", ()))]
    body = fill_template(
        "notes.html",
        said=said,
        table=_data(data),
        versions=facts.get("versions", {}),
        recipe=clip(recipe, 20_000),
    )
    return Section("notes", body)


def _method(report: ReportData) -> Iterator[Text]:
    record = report.record
    if record is None:
        if report.split:
            yield phrase("notes.split", split=report.split)
        return
    seeds = len(record["seeds"])
    yield phrase("notes.split", split=record["split"])
    yield phrase("notes.seeds" if seeds > 1 else "notes.one_seed", seeds=seeds)
    yield phrase("notes.mean")
    yield phrase("notes.gain")
    for name, entry in record["pooled"].items():
        yield phrase("notes.pooled", name=name, tasks=", ".join(entry["tasks"]))
    yield from _leaks(record)


def _leaks(record: Record) -> Iterator[Text]:
    leaks = record.get("leaks")
    if leaks:
        found = any(leaks["train_rows"].values())
        done = "notes.dropped" if record["drop_leaks"] else "notes.kept"
        yield phrase(done if found else "notes.clean", summary=leaks["summary"])


def _data(data: Mapping[str, Any]) -> SortableTable:
    head = [phrase(f"column.{name}") for name in ("source", "split", "rows", "hash")]
    rows = [
        [
            Cell(source),
            Cell(split),
            Cell(f"{table['rows']}", table["rows"]),
            Cell(str(table["sha256"])[:_HASH]),
        ]
        for source, tables in data.items()
        for split, table in tables.items()
    ]
    return SortableTable("data", head, rows)
