"""Which task helps or hurts which, as ``polytask analyse`` has found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from polytask.reports import formats
from polytask.reports.charts.graph import graph_chart
from polytask.reports.charts.matrix import diverging, matrix_chart
from polytask.reports.material import Material
from polytask.reports.sections.base import Figure, Section, filled
from polytask.reports.wording import Phrase, phrase

Pairs = dict[tuple[int, int], float]
_SHOWN = 0.15
"""Arrows that are weaker than this share of the strongest are left out of the graph."""


def transfer(material: Material) -> Section | None:
    """The matrix, and the graph of its larger entries."""
    found = material.analysis("transference")
    if not found or not isinstance(found.get("matrix"), Sequence):
        return None
    names = [str(name) for name in found.get("tasks", ())]
    pairs = _pairs(found["matrix"], len(names))
    if not pairs:
        return None
    title = phrase("transfer.matrix")
    figures = [
        Figure(title, matrix_chart(title, names, names, _cells(found, names, pairs))),
        Figure(phrase("transfer.graph"), _graph(names, pairs)),
    ]
    body = filled("transfer.html", figures=figures, method=str(found.get("method", "")))
    return Section("transfer", body)


def _pairs(matrix: Sequence[Sequence[float | None]], count: int) -> Pairs:
    """Entries by source (row) and target (column), without the diagonal."""
    return {
        (source, target): float(value)
        for source, row in enumerate(matrix[:count])
        for target, value in enumerate(row[:count])
        if source != target and value is not None
    }


def _cells(found: Mapping[str, Any], names: Sequence[str], pairs: Pairs) -> dict[Any, Any]:
    largest = max(map(abs, pairs.values()))
    return {
        (source, target): (
            formats.short(round(value, 3)).replace("-", "−"),
            diverging(value, largest),
            _tip(names, source, target, value).joined(_uncertainty(found, source, target)),
        )
        for (source, target), value in pairs.items()
    }


def _graph(names: Sequence[str], pairs: Pairs) -> Any:
    largest = max(map(abs, pairs.values()))
    strong = {
        place: (value, _tip(names, *place, value))
        for place, value in pairs.items()
        if abs(value) >= _SHOWN * largest and value
    }
    return graph_chart(phrase("transfer.graph"), names, strong)


def _tip(names: Sequence[str], source: int, target: int, value: float) -> Phrase:
    key = "transfer.helps" if value >= 0 else "transfer.hurts"
    shown = formats.short(value).replace("-", "−")
    return phrase(key, source=names[source], target=names[target], value=shown)


def _uncertainty(found: Mapping[str, Any], source: int, target: int) -> str:
    """The interval or the standard error of an entry, if there is one."""
    if "low" in found and "high" in found:
        low, high = (found[key][source][target] for key in ("low", "high"))
        if low is not None and high is not None:
            return f" [{formats.short(low)}, {formats.short(high)}]"
    for key in ("error", "standard_error"):
        if key in found and found[key][source][target] is not None:
            return f" ± {formats.short(found[key][source][target])}"
    return ""
