"""The tables of strategies, tasks and differences."""

from __future__ import annotations

from polytask.reports.comparison_tables import tabulate_scores
from polytask.reports.coverage_text import describe_coverage
from polytask.reports.report_data import ReportData
from polytask.reports.sections.base import Section, fill_template
from polytask.reports.significance import get_statistics


def comparison(report: ReportData) -> Section | None:
    """Return the tables of a comparison."""
    record = report.record
    if record is None:
        return None
    body = fill_template(
        "comparison.html",
        tables=tabulate_scores(record),
        record=record,
        tested=get_statistics(record),
        covered=[*describe_coverage(record)],
    )
    return Section("comparison", body)
