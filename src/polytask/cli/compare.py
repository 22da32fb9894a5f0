"""``polytask compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from polytask.cli.options import Overrides, Plugins, RecipeFile, open_recipe


def compare(
    recipe: RecipeFile,
    run: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The folder to write; runs/NAME-compare by default."),
    ] = None,
    strategies: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="Instead of those of the recipe.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(metavar="N", help="Instead of the number in the recipe.")
    ] = None,
    overrides: Overrides = None,
    plugins: Plugins = None,
) -> None:
    """Compare ways of training over paired seeds; go on if the folder holds some already."""
    from polytask import api
    from polytask.reports.tables import render_comparison

    chosen = list(overrides or ())
    chosen += [] if strategies is None else [f"compare.strategies=[{strategies}]"]
    chosen += [] if seeds is None else [f"compare.seeds={seeds}"]
    loaded = open_recipe(recipe, chosen, plugins)
    folder = run or api.RUNS / f"{loaded.name}-compare"
    typer.echo(render_comparison(api.compare(loaded, folder)))
    typer.echo(f"Run folder: {folder}")
