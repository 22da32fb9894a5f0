"""Every option of every part, given a value of another kind: a sentence with its place, no jargon."""

from __future__ import annotations

import functools
import importlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from polytask.core.errors import RecipeError
from polytask.recipe import load, yaml
from polytask.recipe.registries import REGISTRIES
from polytask.training.options import TrainingOptions

BASE: Mapping[str, Any] = {
    "data": {"d": "jsonl"},
    "encoder": "bag",
    "tasks": {"t": "classification"},
}
PLACES: Mapping[str, tuple[str | int, ...]] = {
    "sources": ("data", "d"),
    "text_steps": ("text", 0),
    "augmentations": ("augment", 0),
    "encoders": ("encoder",),
    "architectures": ("sharing",),
    "tasks": ("tasks", "t"),
    "metrics": ("tasks", "t", "metrics", 0),
    "mixtures": ("mixing",),
    "balancers": ("balancing",),
}
VALUES = ["words", "", None, -3, math.nan, [1, {}], {"x": {"y": 1}}, {"kind": 3}]
JARGON = re.compile(
    r"instance|valid_|should|pydantic|\bdict|tuple|NoneType|Traceback|Error|\bstr\b|\bint\b|\{[a-z]"
)


@pytest.fixture(autouse=True)
def one_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the JSON Schema of all parts once: it takes most of the time of a message."""
    module = importlib.import_module("polytask.recipe.load")
    monkeypatch.setattr(module, "json_schema", functools.cache(module.json_schema))


def nested(place: tuple[str | int, ...], part: Any) -> dict[str, Any]:
    """A recipe with a part at a place."""
    first, *rest = place
    for key in reversed(rest):
        part = [part] if key == 0 else {key: part}
    if place[-2:] == ("metrics", 0):
        part["t"]["kind"] = "classification"
    return {**BASE, str(first): part}


def mistakes(folder: Path, recipe: Mapping[str, Any]) -> list[str]:
    path = folder / "recipe.yaml"
    path.write_text(yaml.dump(recipe), encoding="utf-8")
    try:
        load(path)
    except RecipeError as error:
        return [re.sub(r"^\S+:\d+: ", "", mistake) for mistake in error.mistakes]
    return []


def check(found: list[str], place: str) -> None:
    for mistake in found:
        assert mistake.startswith(place), mistake
        text = re.sub(r"\.? Known: .*|'[^']*'", ".", mistake.partition(": ")[2])
        assert text.endswith((".", "?")), mistake
        assert not JARGON.search(text), mistake


@pytest.mark.parametrize("name", PLACES)
def test_wrong_values_of_options_of_parts(name: str, tmp_path: Path) -> None:
    assert {*PLACES} == {*REGISTRIES}
    for kind in REGISTRIES[name].kinds():
        options = [*REGISTRIES[name].schema(kind).model_fields]
        place = ".".join(map(str, PLACES[name]))
        for value in VALUES if len(options) > 1 else ():
            part = {**dict.fromkeys(options, value), "kind": kind}
            check(mistakes(tmp_path, nested(PLACES[name], part)), place)


def test_wrong_values_of_training(tmp_path: Path) -> None:
    for value in VALUES:
        options = dict.fromkeys(TrainingOptions.model_fields, value)
        found = mistakes(tmp_path, {**BASE, "training": options})
        assert len(found) > 10, json.dumps(value)
        check(found, "training.")
