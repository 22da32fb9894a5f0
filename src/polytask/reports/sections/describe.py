"""What the tasks share, drawn."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from polytask.reports import formats
from polytask.reports.material import Material
from polytask.reports.sections.base import Cell, Section, Table, filled
from polytask.reports.wording import phrase


def describe(material: Material) -> Section | None:
    """The drawing and the table of ``polytask describe``, whichever there is."""
    path = material.folder / "analysis" / "describe.svg"
    drawing = ""
    if path.is_file():  # as a picture, in which no script runs
        drawing = f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode()}"
    rows = list(_rows(material.analysis("describe") or {}))
    if not drawing and not rows:
        return None
    head = [phrase(f"column.{name}") for name in ("module", "parameters", "tasks")]
    table = Table("modules", head, rows) if rows else None
    return Section("describe", filled("describe.html", drawing=drawing, table=table))


def _rows(found: Mapping[str, Any]) -> Iterator[list[Cell]]:
    for module in found.get("modules", ()):
        count = module.get("parameters")
        yield [
            Cell(str(module.get("name", ""))),
            Cell(formats.amount(count), count),
            Cell(", ".join(map(str, module.get("tasks", ())))),
        ]
