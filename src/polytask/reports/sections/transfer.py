"""The effect of each task on each other task, from ``polytask analyse``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from polytask.reports.charts.graph import graph_chart
from polytask.reports.charts.matrix import get_diverging_style, matrix_chart
from polytask.reports.formats import format_short
from polytask.reports.report_data import ReportData
from polytask.reports.sections.base import Figure, Section, fill_template
from polytask.reports.wording import Phrase, phrase

Pairs = dict[tuple[int, int], float]
Matrix = Sequence[Sequence[float | None]]
_SHOWN = 0.15
"""Smallest arrow of the graph, as a share of the strongest."""


def transfer(report: ReportData) -> Section | None:
    """Return the matrix of transference, and the graph of its larger entries."""
    found = report.analysis("transference") or {}
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
    """Return the entries by helper and helped task, without the diagonal.

    :param mean: One row per helped task, one column per helper.
    """
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
            _tip(names, helper, helped, value, error[helped][helper] if error else None),
        )
        for (helper, helped), value in pairs.items()
    }


def _thousands(pairs: Pairs) -> int:
    """Return how often to multiply values by 1000, so that they fit into a cell."""
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


def _tip(
    names: Sequence[str], source: int, target: int, value: float, error: float | None = None
) -> Phrase:
    key = "transfer.helps" if value >= 0 else "transfer.hurts"
    shown = format_short(value).replace("-", "−")
    said = phrase(key, source=names[source], target=names[target], value=shown)
    return said if error is None else said.with_suffix(f" ± {format_short(error)}")
