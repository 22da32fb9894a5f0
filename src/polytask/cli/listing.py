"""``polytask list``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polytask.cli.options import Plugins, open_plugins

if TYPE_CHECKING:
    from rich.table import Table

    from polytask.core.registry import Registry

_RECIPES = "recipes"
_WIDTH = 160
"""Width of the table in characters if the output is not a terminal."""


def list_parts(
    registry: Annotated[
        str | None,
        typer.Argument(
            metavar="[REGISTRY]",
            help="sources, text_steps, augmentations, encoders, architectures, tasks, metrics, "
            "mixtures, balancers or recipes. Default: all of them.",
            show_default=False,
        ),
    ] = None,
    plugins: Plugins = None,
) -> None:
    """List the parts that a recipe can choose, with options and papers, and built-in recipes."""
    from rich.console import Console

    from polytask.core.errors import RecipeError
    from polytask.recipe.mistakes import unknown
    from polytask.recipe.registries import REGISTRIES

    open_plugins(plugins)
    known = [*REGISTRIES, _RECIPES]
    if registry is not None and registry not in known:
        raise RecipeError([unknown("registry", registry, known)])
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    for name in known if registry is None else [registry]:
        entries = _recipes() if name == _RECIPES else _parts(REGISTRIES[name])
        console.print(_table(name, entries))


def _table(name: str, entries: Iterable[tuple[str, str, Iterable[str]]]) -> Table:
    """Return a table of names, each with a line about it and further lines."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=name, title_justify="left", box=None, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for entry, line, more in entries:
        table.add_row(entry, Text.assemble(line, *((f"\n{text}", "dim") for text in more)))
    return table


def _recipes() -> Iterator[tuple[str, str, Iterable[str]]]:
    """Yield the built-in recipes, each with its description."""
    from polytask.recipe.built_in import built_in_recipes, describe

    for name, file in built_in_recipes().items():
        yield name, describe(file), ()


def _parts(registry: Registry[Any]) -> Iterator[tuple[str, str, Iterable[str]]]:
    """Yield the parts of a registry, each with its description, options, cost and paper."""
    for kind in registry.kinds():
        line, paper = registry.describe(kind)
        more = (_options(registry, kind), _price(registry.part(kind)), paper)
        yield kind, line, filter(None, more)


def _price(part: type) -> str:
    """Return the cost and needs of a step with a balancer; empty for other parts."""
    needs = [name.replace("_", " ") for name in sorted(getattr(part, "needs", ()))]
    return "; needs ".join(filter(None, (getattr(part, "cost", ""), ", ".join(needs))))


def _options(registry: Registry[Any], kind: str) -> str:
    """Return the options of a part with their defaults, as in a recipe."""
    fields = registry.schema(kind).model_fields
    return ", ".join(
        name if field.is_required() else f"{name}: {json.dumps(field.default, default=str)}"
        for name, field in fields.items()
        if name != "kind"
    )
