"""Changes to a recipe from the command line: ``path.to.key=value``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from polytask.core.errors import RecipeError
from polytask.recipe import yaml
from polytask.recipe.mistakes import Keys, Mistake, holds


def override(document: yaml.Document, assignment: str) -> yaml.Document:
    """Return the document with one value changed; missing mappings on its path are added.

    :param assignment: ``path.to.key=value``, the value in YAML. Positions in lists are numbers; the
        number after the last one appends to the list.
    :raises RecipeError: If the assignment cannot be understood.
    """
    path, equals, text = assignment.partition("=")
    origin = f"--set {assignment}"
    if not equals or not all(path.split(".")):
        raise RecipeError([f"{origin}: expected path.to.key=value, such as training.epochs=3."])
    given = _value(path, text, origin)
    keys, changed = _assign(document.value, path.split("."), given.value, origin)
    # drop the lines of the replaced value: nothing in the new value stands there
    origins = {place: at for place, at in document.origins.items() if place[: len(keys)] != keys}
    for depth in range(len(keys)):
        origins.setdefault(keys[: depth + 1], origin)
    repeated = [Mistake((*keys, *mistake.keys), mistake.text) for mistake in given.mistakes]
    return yaml.Document(changed, origins, [*document.mistakes, *repeated])


def _value(path: str, text: str, origin: str) -> yaml.Document:
    try:
        return yaml.parse(text, origin)
    except RecipeError as error:
        hint = f"If it is text, quote it for the shell and for YAML: --set '{path}=\"{text}\"'."
        raise RecipeError([f"{mistake} {hint}" for mistake in error.mistakes]) from error


def _assign(target: Any, path: list[str], value: Any, origin: str) -> tuple[Keys, Any]:
    """Return the path of the changed value, and a changed copy of the target."""
    if not path:
        return (), value
    key: str | int = _position(target, path[0], origin) if isinstance(target, list) else path[0]
    if isinstance(target, str):
        target = {"kind": target}  # the short form of a part
    inner = target[key] if holds(target, key) else None
    keys, changed = _assign(inner, path[1:], value, origin)
    if isinstance(key, int):
        return (key, *keys), [*target[:key], changed, *target[key + 1 :]]
    mapping = target if isinstance(target, Mapping) else {}
    return (key, *keys), {**mapping, key: changed}


def _position(items: list[Any], key: str, origin: str) -> int:
    """Return the position that a key names in a list, or the position after the last item."""
    if key.isascii() and key.isdigit() and int(key) <= len(items):
        return int(key)
    raise RecipeError([f"{origin}: found {key!r} in a list, expected 0 to {len(items)}."])
