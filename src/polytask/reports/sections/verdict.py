"""Should these tasks share a model? In words, as the comparison has decided."""

from __future__ import annotations

from polytask.reports.material import Material
from polytask.reports.sections.base import Section, filled


def verdict(material: Material) -> Section | None:
    """The verdict of a comparison, if it came to one."""
    found = (material.record or {}).get("verdict")
    if not found:
        return None
    if isinstance(found, str):
        found = {"text": found}
    decision = str(found.get("verdict") or found.get("decision") or "")
    texts = [found.get(key) for key in ("text", "reason", "settle", "more_data")]
    reasons = [str(reason) for reason in found.get("reasons", ())]
    said = [str(text) for text in texts if text] + reasons
    return Section("verdict", filled("verdict.html", decision=decision, said=said))
