"""The JSON Schema of recipes, for editors and for hints in error messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from polytask.recipe.mistakes import Keys, holds
from polytask.recipe.schema import Recipe

JsonSchema = Mapping[str, Any]


def json_schema() -> dict[str, Any]:
    """Return the schema of recipes, with the registered parts, their options and defaults.

    https://json-schema.org/draft/2020-12/schema
    """
    return {
        **Recipe.model_json_schema(),
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "polytask recipe",
    }


def get_properties(schema: JsonSchema, recipe: Any, keys: Keys) -> dict[str, JsonSchema]:
    """Return the schema of each key that one mapping of a recipe may have.

    :param recipe: The recipe as plain data; the chosen kinds decide which options exist.
    :param keys: The path of the mapping.
    """
    value, nodes = recipe, _variants(schema, schema, recipe)
    for key in keys:
        value = value[key] if holds(value, key) else None
        inside = [child for node in nodes for child in _children(node, key)]
        nodes = [node for child in inside for node in _variants(child, schema, value)]
    return {name: child for node in nodes for name, child in node.get("properties", {}).items()}


def _variants(node: JsonSchema, root: JsonSchema, value: Any) -> list[JsonSchema]:
    """Return the schemas behind references and unions; only the kind that the value names."""
    if "$ref" in node:
        node = root["$defs"][node["$ref"].rsplit("/", 1)[-1]]
    plain = [one for option in node.get("anyOf", ()) for one in _variants(option, root, value)]
    chosen = value.get("kind") if isinstance(value, Mapping) else value
    named = [one for one in plain if _get_kind(one) in (None, chosen)]
    return named or plain or [node]


def _get_kind(node: JsonSchema) -> Any:
    return node.get("properties", {}).get("kind", {}).get("const")


def _children(node: JsonSchema, key: str | int) -> Iterator[JsonSchema]:
    """Yield the schemas of one item of a mapping or list."""
    if key in node.get("properties", {}):
        yield node["properties"][key]
        return
    yield from node.get("patternProperties", {}).values()
    for rest in ("items", "additionalProperties"):
        if isinstance(node.get(rest), Mapping):
            yield node[rest]
