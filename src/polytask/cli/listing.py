"""``polytask list``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polytask.cli.options import Plugins, open_plugins

if TYPE_CHECKING:
    from rich.table import Table

    from polytask.core.registry import Registry

_WIDTH = 160
"""Columns of the table where there is no terminal to fit it to."""


def list_parts(
    registry: Annotated[
        str | None,
        typer.Argument(
            metavar="[REGISTRY]",
            help="sources, text_steps, augmentations, encoders, architectures, tasks, metrics, "
            "mixtures or balancers; all of them if left out.",
            show_default=False,
        ),
    ] = None,
    plugins: Plugins = None,
) -> None:
    """List the parts a recipe can choose from: what each does, its options and its paper."""
    from rich.console import Console

    from polytask.core.errors import RecipeError
    from polytask.recipe.mistakes import unknown
    from polytask.recipe.registries import REGISTRIES

    open_plugins(plugins)
    if registry is not None and registry not in REGISTRIES:
        raise RecipeError([unknown("registry", registry, list(REGISTRIES))])
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    for name in REGISTRIES if registry is None else [registry]:
        console.print(_table(name, REGISTRIES[name]))


def _table(name: str, registry: Registry[Any]) -> Table:
    """For every part: what it does, its options, its paper."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=name, title_justify="left", box=None, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for kind in registry.kinds():
        line, paper = registry.describe(kind)
        more = filter(None, (_options(registry, kind), _price(registry.part(kind)), paper))
        table.add_row(kind, Text.assemble(line, *((f"\n{text}", "dim") for text in more)))
    return table


def _price(part: type) -> str:
    """What a step with a balancer costs and needs; nothing for other parts."""
    needs = [name.replace("_", " ") for name in sorted(getattr(part, "needs", ()))]
    return "; needs ".join(filter(None, (getattr(part, "cost", ""), ", ".join(needs))))


def _options(registry: Registry[Any], kind: str) -> str:
    """The options of a part with their defaults, as a recipe would write them."""
    fields = registry.schema(kind).model_fields
    return ", ".join(
        name if field.is_required() else f"{name}: {json.dumps(field.default, default=str)}"
        for name, field in fields.items()
        if name != "kind"
    )
