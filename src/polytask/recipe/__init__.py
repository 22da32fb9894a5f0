"""A recipe: the validated description of one experiment."""

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
