"""The tables of strategies, tasks and differences."""

from __future__ import annotations

from polytask.reports.comparison_tables import (
    tabulate_differences,
    tabulate_means,
    tabulate_tasks,
)
from polytask.reports.coverage_text import describe_coverage
from polytask.reports.report_data import ReportData
from polytask.reports.sections.base import Section, fill_template
from polytask.reports.significance import get_statistics


def comparison(report: ReportData) -> Section | None:
    """Return the tables of a comparison."""
    record = report.record
    if record is None:
        return None
    tested = get_statistics(record)
    tables = [
        tabulate_means(record),
        tabulate_tasks(record),
        *([tabulate_differences(record)] if tested else []),
    ]
    said = [*describe_coverage(record)]
    body = fill_template(
        "comparison.html", tables=tables, record=record, tested=tested, covered=said
    )
    return Section("comparison", body)
