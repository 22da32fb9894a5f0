"""The verdict of a comparison on whether the tasks should share a model."""

from __future__ import annotations

from polytask.reports.report_data import ReportData
from polytask.reports.sections.base import Section, fill_template
from polytask.reports.verdict_text import decision


def verdict(report: ReportData) -> Section | None:
    """Return the verdict of a comparison, or None without one."""
    found = None if report.record is None else decision(report.record)
    if found is None:
        return None
    return Section(
        "verdict", fill_template("verdict.html", decision=found.said, said=found.because)
    )
