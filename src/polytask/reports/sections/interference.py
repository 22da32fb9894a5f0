"""Cosines between the gradients of tasks, over the training and in the mean."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

from polytask.reports.charts.lines import Line, line_chart
from polytask.reports.charts.matrix import get_diverging_style, matrix_chart
from polytask.reports.report_data import ReportData
from polytask.reports.sections.base import Figure, Section, fill_template
from polytask.reports.wording import phrase

Pair = tuple[str, str]
Looks = dict[Pair, list[tuple[float, float]]]
"""Steps and cosines of the gradients, by pair of tasks."""

_SHOWN = 8
_FULL = 0.3
"""The smallest mean cosine that may have the strongest colour."""
_WHOLE = "all"
_SEEN = "interference.jsonl"


def interference(report: ReportData) -> Section | None:
    """Return the cosines over time of the pairs with most conflict, and the mean of all pairs."""
    looks = _looks(report)
    means = {pair: fmean(y for _, y in points) for pair, points in looks.items() if points}
    if not means:
        return None
    worst = sorted(means, key=lambda pair: means[pair])[:_SHOWN]
    lines = [Line(_name(pair), looks[pair], style) for style, pair in enumerate(worst)]
    names = list(dict.fromkeys(task for pair in means for task in pair))
    over_time, mean = phrase("interference.time"), phrase("interference.mean")
    figures = [
        Figure(over_time, line_chart(over_time, lines, along=phrase("axis.step"))),
        Figure(mean, matrix_chart(mean, names, names, _cells(names, means))),
    ]
    legend = [(line.name, line.style) for line in lines]
    body = fill_template("interference.html", figures=figures, legend=legend, pairs=len(means))
    return Section("interference", body)


def _name(pair: Pair) -> str:
    return " – ".join(pair)


def _cells(names: Sequence[str], means: Mapping[Pair, float]) -> dict[Any, Any]:
    """Return both halves of the symmetric matrix."""
    largest = max(_FULL, *map(abs, means.values()))
    cells = {}
    for pair, value in means.items():
        shown = f"{value:+.2f}".replace("-", "−")
        row, column = (names.index(task) for task in pair)
        found = shown, get_diverging_style(value, largest), f"{_name(pair)}: {shown}"
        cells[row, column] = cells[column, row] = found
    return cells


def _looks(report: ReportData) -> Looks:
    """Return the analysed conflicts, else the first ones that a training recorded."""
    found = report.analysis("interference")
    if found is not None:
        over_time = found.get("over_time", {})
        return {
            (str(entry["tasks"][0]), str(entry["tasks"][1])): _get_points(over_time["steps"], entry)
            for entry in over_time.get("pairs", ())
        }
    paths = [one.run.path / _SEEN for one in report.trained]
    return next((_read_looks(path) for path in paths if path.is_file()), {})


def _get_points(steps: Sequence[float], entry: Mapping[str, Any]) -> list[tuple[float, float]]:
    pairs = zip(steps, entry["cosine"], strict=True)
    return [(step, value) for step, value in pairs if value is not None]


def _read_looks(path: Path) -> Looks:
    looks: Looks = {}
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):  # a running training may have written half a line
                record = json.loads(line)
                for pair, value in _cosines(record):
                    looks.setdefault(pair, []).append((record["step"], value))
    return looks


def _cosines(record: Mapping[str, Any]) -> Iterator[tuple[Pair, float]]:
    """Yield the cosines over all shared parameters; absent tasks have none."""
    cosine_tt = record["layers"][_WHOLE]["cosine"]
    for (i, first), (j, second) in combinations(enumerate(record["tasks"]), 2):
        if cosine_tt[i][j] is not None:
            yield (first, second), cosine_tt[i][j]
