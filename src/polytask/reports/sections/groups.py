"""Which tasks were proposed to share a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from polytask.reports import formats
from polytask.reports.material import Material
from polytask.reports.sections.base import Section, filled


def groups(material: Material) -> Section | None:
    """The proposed grouping, and its recipes."""
    found = material.analysis("groups")
    if not found:
        return None
    proposed = found.get("groups") or found.get("best") or ()
    if isinstance(proposed, Mapping):
        proposed = list(proposed.values())
    sets = [_members(group) for group in proposed]
    if not sets:
        return None
    value = found.get("score")
    shown = formats.short(value) if isinstance(value, int | float) else ""
    recipes = [str(recipe) for recipe in found.get("recipes", ())]
    return Section("groups", filled("groups.html", groups=sets, score=shown, recipes=recipes))


def _members(group: Any) -> list[str]:
    """The tasks of a group, given as they are or as the tasks of a mapping."""
    return [str(task) for task in (group["tasks"] if isinstance(group, Mapping) else group)]
