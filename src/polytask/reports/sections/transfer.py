"""Which task helps or hurts which, as ``polytask analyse`` has found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from polytask.reports import formats
from polytask.reports.charts.graph import graph_chart
from polytask.reports.charts.matrix import get_diverging_style, matrix_chart
from polytask.reports.report_data import Material
from polytask.reports.sections.base import Figure, Section, fill_template
from polytask.reports.wording import Phrase, phrase

Pairs = dict[tuple[int, int], float]
Matrix = Sequence[Sequence[float | None]]
_SHOWN = 0.15
"""Arrows that are weaker than this share of the strongest are left out of the graph."""


def transfer(material: Material) -> Section | None:
    """The matrix, and the graph of its larger entries, by the method that groups are made from."""
    found = material.analysis("transference") or {}
    method = str(found.get("preferred", ""))
    measured = found.get("methods", {}).get(method)
    names = [str(name) for name in found.get("tasks", ())]
    pairs = _pairs(measured["mean"]) if measured else {}
    if not pairs or not measured:
        return None
    thousands = _thousands(pairs)
    unit = phrase(f"transfer.unit.{thousands}")
    title = phrase("transfer.matrix")
    cells = _cells(measured.get("error"), names, pairs, 1000**thousands)
    figures = [
        Figure(title, matrix_chart(title, names, names, cells)),
        Figure(phrase("transfer.graph"), _graph(names, pairs)),
    ]
    meaning = str(measured.get("meaning", ""))
    body = fill_template(
        "transfer.html", figures=figures, method=method, meaning=meaning, unit=unit
    )
    return Section("transfer", body)


def _pairs(mean: Matrix) -> Pairs:
    """Entries by helper and helped, without the diagonal; files have a row per task helped."""
    return {
        (helper, helped): float(value)
        for helped, row in enumerate(mean)
        for helper, value in enumerate(row)
        if helper != helped and value is not None
    }


def _cells(
    error: Matrix | None, names: Sequence[str], pairs: Pairs, factor: float
) -> dict[Any, Any]:
    largest = max(map(abs, pairs.values()))
    return {
        (helper, helped): (
            f"{factor * value:+.2f}".replace("-", "−"),
            get_diverging_style(value, largest),
            _tip(names, helper, helped, value).with_suffix(
                _uncertainty(error[helped][helper] if error else None)
            ),
        )
        for (helper, helped), value in pairs.items()
    }


def _thousands(pairs: Pairs) -> int:
    """How often values are multiplied by a thousand, so that they have room in a cell."""
    largest = max(map(abs, pairs.values()))
    return 0 if largest >= 0.1 or not largest else 1 if largest >= 1e-4 else 2


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


def _uncertainty(error: float | None) -> str:
    """The standard error of an entry, if it is known."""
    return "" if error is None else f" ± {formats.short(error)}"
