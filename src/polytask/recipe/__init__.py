"""The recipe: a YAML file that describes one experiment, and its validation.

Files are read with strict YAML and changed by ``--set``; every mistake is reported with file and line.
Start reading at ``schema`` (everything that a recipe can contain), then ``load``.
"""

from polytask.recipe.json_schema import json_schema
from polytask.recipe.load import dump, load
from polytask.recipe.schema import (
    CompareOptions,
    PooledSection,
    Recipe,
    SourceSection,
    StartOptions,
    TaskSection,
)

__all__ = [
    "CompareOptions",
    "PooledSection",
    "Recipe",
    "SourceSection",
    "StartOptions",
    "TaskSection",
    "dump",
    "json_schema",
    "load",
]
