"""The tables of strategies, tasks and differences."""

from __future__ import annotations

from polytask.reports.comparison_tables import by_task, differences, means
from polytask.reports.coverage_text import describe_coverage
from polytask.reports.report_data import Material
from polytask.reports.sections.base import Section, fill_template
from polytask.reports.significance import statistics_of


def comparison(material: Material) -> Section | None:
    """Return the tables of a comparison."""
    record = material.record
    if record is None:
        return None
    tested = statistics_of(record)
    tables = [means(record), by_task(record), *([differences(record)] if tested else [])]
    said = [*describe_coverage(record)]
    body = fill_template(
        "comparison.html", tables=tables, record=record, tested=tested, covered=said
    )
    return Section("comparison", body)
