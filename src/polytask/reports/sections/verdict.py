"""Should these tasks share a model? In words, as the comparison has decided."""

from __future__ import annotations

from polytask.reports.report_data import Material
from polytask.reports.sections.base import Section, fill_template
from polytask.reports.verdict_text import decision


def verdict(material: Material) -> Section | None:
    """The verdict of a comparison, if it came to one."""
    found = None if material.record is None else decision(material.record)
    if found is None:
        return None
    return Section(
        "verdict", fill_template("verdict.html", decision=found.said, said=found.because)
    )
