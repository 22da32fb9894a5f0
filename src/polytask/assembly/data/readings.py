"""How the files of each task were read, also of tasks that a run keeps from another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from polytask.core.files import read_json
from polytask.core.registry import Options
from polytask.core.run_folder import RunFolder
from polytask.data.sources import sources
from polytask.recipe import Recipe

Readings: TypeAlias = Mapping[str, Sequence[Options]]
"""The options of the sources that each task was trained on."""


def readings(recipe: Recipe, run: RunFolder) -> Readings:
    """Return the options of the sources that each task of a run was trained on.

    A recipe names them for the tasks that it trains, ``run.json`` for those that are kept. Where
    neither does, the sources of all other tasks take their place.
    """
    facts = read_json(run.facts) if run.facts.is_file() else {}
    kept = facts.get("start", {}).get("sources", {})
    every = [section.part for section in recipe.data.values()]
    found = {}
    for name, section in recipe.tasks.items():
        own = [recipe.data[source].part for source in section.sources]
        found[name] = own or [sources.parse(options) for options in kept.get(name, ())] or every
    return found
