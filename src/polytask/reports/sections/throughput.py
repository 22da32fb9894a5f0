"""Throughput and learning rate of a running training."""

from __future__ import annotations

from polytask.reports.charts.lines import Line, line_chart
from polytask.reports.report_data import ReportData
from polytask.reports.sections.base import Figure, Section, fill_template
from polytask.reports.wording import phrase


def pace(report: ReportData) -> Section | None:
    """Return tokens per second and the learning rate over the epochs."""
    curves = report.trained[0].curves
    figures = [
        Figure(title, line_chart(title, [Line("", track.points(), 1)]))
        for title, track in (
            (phrase("pace.tokens"), curves.pace),
            (phrase("pace.rate"), curves.rate),
        )
        if track.points()
    ]
    return Section("pace", fill_template("pace.html", figures=figures)) if figures else None
