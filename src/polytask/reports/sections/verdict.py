"""The verdict of a comparison on whether the tasks should share a model."""

from __future__ import annotations

from polytask.reports.report_data import Material
from polytask.reports.sections.base import Section, fill_template
from polytask.reports.verdict_text import decision


def verdict(material: Material) -> Section | None:
    """Return the verdict of a comparison, or None without one."""
    found = None if material.record is None else decision(material.record)
    if found is None:
        return None
    return Section(
        "verdict", fill_template("verdict.html", decision=found.said, said=found.because)
    )
