"""``polytask check``."""

from __future__ import annotations

import typer

from polytask.cli.options import Overrides, Plugins, RecipeFile, open_recipe


def check(recipe: RecipeFile, overrides: Overrides = None, plugins: Plugins = None) -> None:
    """Check a recipe, then its data, and report all mistakes at once."""
    from rich.console import Console

    from polytask import api
    from polytask.core.accounting import account_lines
    from polytask.core.errors import DataError

    opened = open_recipe(recipe, overrides, plugins)
    with Console(stderr=True).status("reading and preparing rows"):
        found = api.check(opened)
    for line in account_lines(found.accounts):
        typer.echo(line)
    for place, parts in found.learned.items():
        typer.echo(f"{place}, learned is what stands between ⟦ and ⟧:")
        shown = (typer.style(f"⟦{text}⟧", fg="green") if own else text for text, own in parts)
        typer.echo(f"{''.join(shown)}\n")
    for warning in found.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if found.mistakes:
        raise DataError("\n".join(found.mistakes))
    typer.echo(f"{recipe}: no mistakes found in the recipe and its data.")
