"""Writes docs/reference.md from the registries: ``python docs/generate.py``.

A test fails when the page is out of date.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from polytask.core.registry import Registry
from polytask.data.splits import SplitOptions
from polytask.evaluation.options import EvaluationOptions
from polytask.recipe import (
    CompareOptions,
    PooledSection,
    Recipe,
    SourceSection,
    StartOptions,
    TaskSection,
)
from polytask.recipe.parts import RecipeSection
from polytask.recipe.registries import REGISTRIES
from polytask.training.options import TrainingOptions

PAGE = Path(__file__).with_name("reference.md")
_INTRODUCTION = """\
# Reference

Every key, part and option of a recipe. Made by `python docs/generate.py`; do not edit. `polytask list` prints the parts,
including plugins, and `polytask schema` the JSON Schema of recipes for editors.

A part without options may be written as its name alone: `encoder: bag` is `encoder: {kind: bag}`.
"""
_SECTIONS: Mapping[str, type[BaseModel]] = {
    "recipe": Recipe,
    "start": StartOptions,
    "data.NAME": SourceSection,
    "data.NAME.split": SplitOptions,
    "tasks.NAME": TaskSection,
    "pooled.NAME": PooledSection,
    "training": TrainingOptions,
    "evaluation": EvaluationOptions,
    "compare": CompareOptions,
}
_WHERE = {
    "sources": "data.NAME",
    "text_steps": "text",
    "augmentations": "augment",
    "encoders": "encoder",
    "architectures": "sharing",
    "tasks": "tasks.NAME",
    "metrics": "tasks.NAME.metrics",
    "mixtures": "mixing",
    "balancers": "balancing",
}

_WORDS = {
    "string": "text",
    "boolean": "boolean",
    "integer": "whole number",
    "number": "number",
    "object": "mapping",
}


def reference() -> str:
    """The whole page."""
    parts = [_INTRODUCTION]
    parts += [f"## {name}\n\n{_options(model)}" for name, model in _SECTIONS.items()]
    parts += [
        f"## {name}\n\nFor `{_WHERE[name]}`.\n\n" + "\n".join(_parts(registry))
        for name, registry in REGISTRIES.items()
    ]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).strip() + "\n"


def _parts(registry: Registry[Any]) -> Iterator[str]:
    for kind in registry.kinds():
        line, paper = registry.describe(kind)
        source = f" [Source]({paper})" if paper else ""
        yield f"### {kind}\n\n{line}{source}\n\n{_options(registry.schema(kind))}"


def _options(model: type[BaseModel]) -> str:
    """A table of the keys of a model; nothing if it has none but its kind."""
    rows = [
        f"| `{name}` | {_type(entry)} | {_default(entry, required)} | {_text(entry)} |"
        for name, entry, required in _keys(model)
    ]
    return "\n".join(["| key | type | default | |", "|---|---|---|---|", *rows, ""]) if rows else ""


def _keys(model: type[BaseModel]) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    """The keys of a model: name, JSON Schema, and whether it must be given."""
    schema = model.model_json_schema()
    if issubclass(model, RecipeSection):  # one schema per kind, each with the keys of the section
        schema = schema["anyOf"][0]
        yield "kind", {"type": "string", "description": "The part."}, True
    own = model.keys() if issubclass(model, RecipeSection) else schema["properties"]
    for name in own:
        if name != "kind":
            yield name, schema["properties"][name], name in schema.get("required", ())


def _type(entry: Mapping[str, Any]) -> str:
    """What may be written, in words."""
    if "enum" in entry or "const" in entry:
        return ", ".join(f"`{value}`" for value in entry.get("enum", [entry.get("const")]))
    if "anyOf" in entry:
        options = [option for option in entry["anyOf"] if option.get("type") != "null"]
        if sum("$ref" in option for option in options) > 1:
            return "part"
        return " or ".join(dict.fromkeys(map(_type, options)))
    if entry.get("type") == "array":
        return f"list of {_type(entry.get('items') or entry['prefixItems'][0])}"
    return _WORDS.get(entry.get("type", ""), "section")


def _default(entry: Mapping[str, Any], required: bool) -> str:
    if required:
        return "needed"
    value = json.dumps(entry.get("default"), ensure_ascii=False)
    return "" if value == "null" else f"`{value}`"


def _text(entry: Mapping[str, Any]) -> str:
    words = entry.get("description", "").replace("``", "`").replace("|", "\\|")
    return " ".join(words.split())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path, nargs="?", default=PAGE, help="where to write it")
    parser.parse_args().page.write_text(reference(), encoding="utf-8")
