"""Options of parts that name tasks: names in a recipe, positions when a part is built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from polytask.balancing import balancers
from polytask.core.registry import ByTask, Registry
from polytask.data.mixing import mixtures
from polytask.recipe.mistakes import Keys, Mistake, unknown
from polytask.sharing import architectures

_SECTIONS: Mapping[str, Registry[Any]] = {
    "sharing": architectures,
    "mixing": mixtures,
    "balancing": balancers,
}


def replace_task_names(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Replace names of tasks by their positions; tasks without a number get 1."""
    names = list_trained_tasks(values)
    placed = {
        section: _place_names(registry, values[section], names)
        for section, registry in _SECTIONS.items()
        if isinstance(values.get(section), Mapping)
    }
    return {**values, **placed}


def find_unknown_tasks(values: Mapping[str, Any]) -> Iterator[Mistake]:
    """Yield a mistake for each task name in an option that no task has."""
    names = list_trained_tasks(values)
    for section, registry in _SECTIONS.items():
        for keys, option, mark in _options(registry, values.get(section), (section,)):
            if isinstance(option, Mapping):
                places = [((*keys, name), name) for name in option]
            else:
                places = [(keys, option)] if mark.form == "one" else []
            for place, name in places:
                if isinstance(name, str) and names and name not in names:
                    yield Mistake(place, unknown("task", name, names))


def list_trained_tasks(values: Mapping[str, Any]) -> list[str]:
    """Return the trained tasks in the order of their positions; tasks without data do not count."""
    sections = values.get("tasks")
    if not isinstance(sections, Mapping):
        return []
    return [
        name
        for name, section in sections.items()
        if not (isinstance(section, Mapping) and section.get("from") in ([], ()))
    ]


def marks(registry: Registry[Any], part: Mapping[str, Any]) -> dict[str, ByTask]:
    """Return the options of a part that name tasks."""
    kind = part.get("kind")
    if not isinstance(kind, str) or kind not in registry.kinds():
        return {}
    return {
        name: mark
        for name, field in registry.schema(kind).model_fields.items()
        for mark in field.metadata
        if isinstance(mark, ByTask) and name in part
    }


def _options(registry: Registry[Any], part: Any, keys: Keys) -> Iterator[tuple[Keys, Any, ByTask]]:
    """Yield the options of a part, and of parts inside it, that name tasks."""
    if not isinstance(part, Mapping):
        return
    for name, mark in marks(registry, part).items():
        yield (*keys, name), part[name], mark
    for name, inner in part.items():
        yield from _options(registry, inner, (*keys, name))


def _place_names(
    registry: Registry[Any], part: Mapping[str, Any], names: list[str]
) -> dict[str, Any]:
    inner = {
        name: _place_names(registry, value, names)
        for name, value in part.items()
        if isinstance(value, Mapping) and "kind" in value
    }
    marked = {
        name: _by_position(part[name], names, mark) for name, mark in marks(registry, part).items()
    }
    return {**part, **inner, **marked}


def _by_position(value: Any, names: list[str], mark: ByTask) -> Any:
    if mark.form == "numbers" and isinstance(value, Mapping):
        return [value.get(name, 1.0) for name in names]
    if mark.form == "one" and isinstance(value, str):
        return names.index(value) if value in names else 0  # reported as a wrong reference
    return value
