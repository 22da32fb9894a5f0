"""The keys at which two recipes differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from polytask.recipe import yaml


def find_differences(kept: str, new: str) -> list[str]:
    """Return the keys, as ``path.to.key``, at which two recipes written as YAML differ.

    :raises RecipeError: If one of them is not YAML.
    """
    old_values, new_values = (
        dict(_leaves(yaml.parse(text, "recipe").value)) for text in (kept, new)
    )
    absent = object()
    return [
        key
        for key in {**old_values, **new_values}
        if old_values.get(key, absent) != new_values.get(key, absent)
    ]


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield every value that is not a filled mapping, with its path."""
    if not isinstance(value, Mapping) or not value:
        yield ".".join(path), value
        return
    for key, item in value.items():
        yield from _leaves(item, (*path, key))
