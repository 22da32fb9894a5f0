"""Read a recipe from a file, and write one as YAML."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import ValidationError

from polytask.core.errors import RecipeError
from polytask.core.run_folder import RunFolder
from polytask.recipe import yaml
from polytask.recipe.built_in import built_in_recipes, find_recipe_file, is_name
from polytask.recipe.explain import explain
from polytask.recipe.json_schema import json_schema
from polytask.recipe.mistakes import Keys, Mistake, hint, list_known
from polytask.recipe.override import override
from polytask.recipe.plugins import describe_missing_plugins
from polytask.recipe.references import find_wrong_references
from polytask.recipe.schema import Recipe
from polytask.recipe.wording import format_value

Check: TypeAlias = Callable[[Mapping[str, Any]], Iterable[Mistake]]
"""A function that finds mistakes in a recipe as plain data, valid or not."""


def load(path: Path, overrides: Sequence[str] = (), checks: Sequence[Check] = ()) -> Recipe:
    """Read and validate a recipe.

    The name defaults to the file name. ``data_root`` is relative to the folder of the file and
    defaults to it. It becomes absolute, so that copies of the recipe read the same data.

    :param path: A file, or the name of a built-in recipe. A file wins.
    :param overrides: Changes as ``path.to.key=value``, the value in YAML.
    :param checks: More checks, reported together with validation. The recipe of a run is read
        without any, because its data files may be gone.
    :raises RecipeError: With every mistake, each as ``file:line: path.to.key: what is wrong``. For
        the recipe of a run, the error also lists missing plugins.
    """
    try:
        return _load(path, overrides, checks)
    except RecipeError as error:
        forgotten = describe_missing_plugins(RunFolder(path.parent))
        raise RecipeError([*error.mistakes, *forgotten]) from error


def _load(path: Path, overrides: Sequence[str], checks: Sequence[Check]) -> Recipe:
    document = _read(path)
    for assignment in overrides:
        document = override(document, assignment)
    if not isinstance(document.value, dict):
        expected = "expected a mapping with the keys data, encoder and tasks"
        raise RecipeError([f"{path}: found {format_value(document.value)}, {expected}."])
    name = re.sub(r"[^\w-]+", "-", path.stem).lstrip("-") or "recipe"
    value = {"name": name, **document.value}
    root = value.get("data_root")
    if root is None or isinstance(root, str):
        value["data_root"] = str((path.parent / os.path.expanduser(root or "")).resolve())
    origins = {(): str(path), **document.origins}
    return _validate(replace(document, value=value, origins=origins), checks)


def dump(recipe: Recipe) -> str:
    """Return the recipe as YAML, with all defaults; ``load`` reads back an equal one."""
    return yaml.dump(recipe.model_dump(mode="json", by_alias=True))


def _read(path: Path) -> yaml.Document:
    """Read a recipe file, or a built-in recipe, as plain data."""
    try:
        return yaml.read(find_recipe_file(path))
    except FileNotFoundError:
        raise RecipeError([f"{path}: {_unknown(path)}"]) from None
    except OSError as error:
        raise RecipeError([f"{path}: cannot be read: {error.strerror}."]) from None


def _unknown(path: Path) -> str:
    """Return the message for a recipe that does not exist, with those that do."""
    files = sorted(file.name for file in path.parent.glob("*.y*ml"))
    if not is_name(path):
        return f"no such file.{hint(path.name, files) or list_known(files)}"
    known = [*files, *built_in_recipes()]
    return f"no such file and no built-in recipe.{hint(path.name, known)}{list_known(known)}"


def _validate(document: yaml.Document, checks: Sequence[Check]) -> Recipe:
    """Return the recipe that a document describes.

    :raises RecipeError: With every mistake, in the order of the file.
    """
    mistakes = [*document.mistakes, *find_wrong_references(document.value)]
    mistakes += [mistake for check in checks for mistake in check(document.value)]
    try:
        recipe = Recipe.model_validate(document.value)
    except ValidationError as error:
        mistakes += explain(error, document.value, json_schema())
    if mistakes:
        raise RecipeError(_in_order(mistakes, document.origins))
    return recipe


def _in_order(mistakes: Iterable[Mistake], origins: Mapping[Keys, str]) -> list[str]:
    """Return the mistakes as text, each with its line or the nearest line around it."""
    places = {keys: place for place, keys in enumerate(origins)}

    def nearest(mistake: Mistake) -> Keys:
        prefixes = (mistake.keys[:end] for end in range(len(mistake.keys), 0, -1))
        return next((keys for keys in prefixes if keys in origins), ())

    ordered = sorted(mistakes, key=lambda mistake: places[nearest(mistake)])
    return [f"{origins[nearest(mistake)]}: {mistake}" for mistake in ordered]
