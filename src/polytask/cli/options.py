"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

if TYPE_CHECKING:
    from polytask.recipe import Recipe

SET = "--set"
RecipeFile: TypeAlias = Annotated[
    Path,
    typer.Argument(
        metavar="RECIPE",
        help="A YAML file, or the name of a built-in recipe; see polytask list recipes.",
        show_default=False,
    ),
]
RunPath: TypeAlias = Annotated[
    Path, typer.Argument(metavar="RUN", help="The folder of a run.", show_default=False)
]
Overrides: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        SET,
        metavar="PATH=VALUE ...",
        help="Change the recipe, as in --set training.epochs=1 sharing=hard. May be repeated.",
    ),
]
Language: TypeAlias = Annotated[
    str,
    typer.Option(metavar="en|zh", help="First language of the page; it can switch to the other."),
]
Plugins: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="FILE.py",
        help="Run a Python file that registers more parts. May be repeated.",
    ),
]


def open_plugins(files: Sequence[Path] | None) -> None:
    """Import the plugins of installed packages and the named files."""
    from polytask.recipe.plugins import load_plugins

    load_plugins(files or ())


def open_recipe(
    file: Path, overrides: Sequence[str] | None, plugins: Sequence[Path] | None
) -> Recipe:
    """Return the recipe with the changes of the command line, after importing the plugins."""
    from polytask import api

    open_plugins(plugins)
    return api.load_recipe(file, overrides or ())
