"""The published JSON Schema says what the program accepts, no more and no less."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from polytask.recipe import dump, json_schema, load, yaml
from polytask.recipe.json_schema import get_properties
from polytask.recipe.registries import REGISTRIES

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))
VALID = """\
name: tweets
data:
  emotion: {kind: jsonl, path: emotion.jsonl, split: {validation: 0.1}}
  irony: {kind: jsonl, path: irony.jsonl}
text: [normalise, {kind: segment, language: zh}]
encoder: {kind: bag, dimension: 32}
sharing: hard
tasks:
  emotion: {kind: classification, from: emotion, labels: [no, yes], metrics: [accuracy]}
  情感: {kind: regression, from: [irony, emotion], input: [text_a, text_b], limit: 10}
pooled: {all: {tasks: [emotion], metric: {kind: f1, average: macro}}}
mixing: {kind: temperature, alpha: 0.5}
training: {epochs: 3, learning_rate: 3.0e-5, precision: auto}
compare: {strategies: [linear, joint], seeds: 2}
"""
TYPES: dict[str, Any] = {
    "object": Mapping,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
}


def fits(value: Any, node: Mapping[str, Any] | bool, root: Mapping[str, Any]) -> bool:
    """The part of JSON Schema that recipes use: shapes, choices, no unknown keys."""
    if isinstance(node, bool):
        return node
    if "$ref" in node:
        return fits(value, root["$defs"][node["$ref"].rsplit("/", 1)[-1]], root)
    if "anyOf" in node:
        return any(fits(value, option, root) for option in node["anyOf"])
    chosen = value in node.get("enum", [value]) and value == node.get("const", value)
    return chosen and has_type(value, node.get("type")) and inside_fits(value, node, root)


def has_type(value: Any, name: str | None) -> bool:
    if name in ("integer", "number"):
        return isinstance(value, int if name == "integer" else int | float)
    return name is None or isinstance(value, TYPES[name])


def inside_fits(value: Any, node: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    if isinstance(value, list):
        return all(fits(item, node.get("items", {}), root) for item in value)
    if not isinstance(value, Mapping):
        return True
    named = node.get("properties", {})
    rest = next(iter(node.get("patternProperties", {}).values()), None)
    other = rest or node.get("additionalProperties", {})
    return set(node.get("required", ())) <= set(value) and all(
        (inner := named.get(key, other)) is not False and fits(item, inner, root)
        for key, item in value.items()
    )


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return json_schema()


@pytest.fixture(scope="module")
def valid() -> Any:
    return yaml.parse(VALID, "recipe.yaml").value


def test_it_is_json_with_a_dialect(schema: Mapping[str, Any]) -> None:
    assert json.loads(json.dumps(schema)) == schema
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_references_lead_somewhere(schema: Mapping[str, Any]) -> None:
    for name in re.findall(r'"\$ref": "#/\$defs/([^"]+)"', json.dumps(schema)):
        assert name in schema["$defs"]


def test_a_valid_recipe_fits_as_written_and_as_dumped(
    schema: Mapping[str, Any], valid: Any, tmp_path: Path
) -> None:
    assert fits(valid, schema, schema)
    path = tmp_path / "recipe.yaml"
    path.write_text(VALID, encoding="utf-8")
    assert fits(yaml.parse(dump(load(path)), "dumped").value, schema, schema)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_of_this_repository_fit(schema: Mapping[str, Any], path: Path) -> None:
    assert fits(yaml.read(path).value, schema, schema)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("colour", "red"),
        ("sharing", "soft_boiled"),
        ("sharing", {"kind": "hard", "alpha": 1}),
        ("encoder", {"dimension": 32}),
        ("encoder", {"kind": "bag", "dimension": "wide"}),
        ("training", {"epoch": 3}),
        ("data", {"emotion": {"kind": "jsonl", "pth": "a"}}),
        ("data", {"emotion": {"kind": "jsonl", "path": "a", "split": {"dev": 0.1}}}),
        ("tasks", {"emotion": {"kind": "classification", "limit": "few"}}),
        ("tasks", {"emotion": {"kind": "classification", "metrics": ["acuracy"]}}),
        ("text", "normalise"),
    ],
)
def test_a_mistake_does_not_fit(
    schema: Mapping[str, Any], valid: Any, key: str, value: object
) -> None:
    assert not fits({**valid, key: value}, schema, schema)


@pytest.mark.parametrize("name", ["encoders", "architectures", "mixtures", "balancers"])
def test_every_part_is_there_with_its_options(schema: Mapping[str, Any], name: str) -> None:
    key = {"encoders": "encoder", "architectures": "sharing", "mixtures": "mixing"}.get(
        name, "balancing"
    )
    for kind in REGISTRIES[name].kinds():
        found = get_properties(schema, {key: {"kind": kind}}, (key,))
        options = REGISTRIES[name].schema(kind).model_fields
        assert set(found) == set(options)
        assert found["kind"] == {"const": kind}
        for option, field in options.items():
            assert found[option].get("description") == field.description


def test_every_key_is_described(schema: Mapping[str, Any]) -> None:
    nodes = {"recipe": schema, **schema["$defs"]}
    silent = [
        f"{name}.{key}"
        for name, node in nodes.items()
        for key, entry in node.get("properties", {}).items()
        if key != "kind" and not entry.get("description")
    ]
    assert silent == []


@pytest.mark.parametrize(("key", "name"), [("data", "sources"), ("tasks", "tasks")])
def test_entries_of_data_and_tasks_have_the_options_of_their_kind_and_their_own(
    schema: Mapping[str, Any], key: str, name: str
) -> None:
    own = {"data": {"split"}, "tasks": {"from", "input", "limit", "weight", "metrics"}}[key]
    for kind in REGISTRIES[name].kinds():
        found = get_properties(schema, {key: {"x": {"kind": kind}}}, (key, "x"))
        assert set(found) == set(REGISTRIES[name].schema(kind).model_fields) | own


def test_defaults_are_stated(schema: Mapping[str, Any]) -> None:
    assert schema["properties"]["sharing"]["default"] == "hard"
    assert (
        get_properties(schema, {"training": {}}, ("training",))["schedule"]["default"] == "linear"
    )


def test_only_a_kind_without_required_options_may_stand_alone(schema: Mapping[str, Any]) -> None:
    metric = schema["$defs"]["PooledSection"]["properties"]["metric"]
    assert REGISTRIES["metrics"].schema("mean_f1").model_fields["labels"].is_required()
    assert fits("accuracy", metric, schema)
    assert not fits("mean_f1", metric, schema)
    assert fits({"kind": "mean_f1", "labels": ["a", "b"]}, metric, schema)
