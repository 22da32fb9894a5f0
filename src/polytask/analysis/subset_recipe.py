"""Recipes of some of the tasks of a recipe; options that name tasks lose the others."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from polytask.balancing import balancers
from polytask.recipe import CompareOptions, Recipe
from polytask.recipe.task_options import marks
from polytask.sharing import architectures


def subset_balancing(recipe: Recipe, tasks: Collection[str]) -> BaseModel:
    """Return the balancing method for some of the tasks, with their part of options per task.

    A single task needs no balancing.
    """
    if len(tasks) == 1:
        return balancers.parse("equal")
    places = [place for place, task in enumerate(recipe.tasks) if task in tasks]
    return balancers.parse(_at(recipe.balancing.model_dump(), places, len(recipe.tasks)))


def subset_sharing(recipe: Recipe, tasks: Collection[str]) -> BaseModel:
    """Return the architecture for some of the tasks; lists of tasks lose the others."""
    options = recipe.sharing.model_dump()
    return architectures.parse({name: _only(v, recipe.tasks, tasks) for name, v in options.items()})


def compare_of(recipe: Recipe) -> CompareOptions:
    """Return the options of the comparison without groups, which may name other tasks."""
    return recipe.compare.model_copy(update={"groups": ()})


def _at(options: Mapping[str, Any], places: Sequence[int], count: int) -> dict[str, Any]:
    """Return the options of a method, and of a nested one, for the tasks at some places.

    A single task that is not among them is replaced by the first.
    """
    found = {
        name: _at(value, places, count) if isinstance(value, Mapping) and "kind" in value else value
        for name, value in options.items()
    }
    for name, mark in marks(balancers, options).items():
        value = options[name]
        if mark.form == "one":
            found[name] = places.index(value) if value in places else 0
        elif isinstance(value, list | tuple) and len(value) == count:
            found[name] = [value[place] for place in places]
    return found


def _only(value: Any, known: Collection[str], kept: Collection[str]) -> Any:
    """Remove other tasks from lists of tasks, nested or not, in a value."""
    if isinstance(value, dict):
        return {key: _only(each, known, kept) for key, each in value.items()}
    if isinstance(value, list | tuple) and value and all(leaf in known for leaf in _leaves(value)):
        return _prune(value, kept)
    return value


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for each in value:
            yield from _leaves(each)
    else:
        yield value


def _prune(value: Any, kept: Collection[str]) -> list[Any]:
    inner = [_prune(each, kept) if isinstance(each, list | tuple) else each for each in value]
    return [each for each in inner if (each if isinstance(each, list) else each in kept)]
