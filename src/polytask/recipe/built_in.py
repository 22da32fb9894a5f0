"""Recipes inside the package. Commands take their names in place of a file."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parents[1] / "recipes"


def built_in_recipes() -> dict[str, Path]:
    """Return the file of each built-in recipe, by name. None of them reads a data file."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*.yaml"))}


def is_name(path: Path) -> bool:
    """Return whether a path may be the name of a built-in recipe: no folder and no suffix."""
    return path.name == str(path) and not path.suffix


def find_recipe_file(path: Path) -> Path:
    """Return the file that holds a recipe: the path, or a built-in recipe if there is no such file."""
    if path.is_file() or not is_name(path):
        return path
    return built_in_recipes().get(path.name, path)


def describe(file: Path) -> str:
    """Return the first line of a recipe's opening comment."""
    return file.read_text(encoding="utf-8").split("\n", 1)[0].removeprefix("# ")
