"""``polytask compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from polytask.cli.options import Overrides, Plugins, RecipeFile, open_recipe
from polytask.cli.shorthands import Shorthand, with_shorthands

_SHORTHANDS = (
    Shorthand(
        "strategies",
        "compare.strategies=[{}]",
        str | None,
        "A,B,C",
        "Strategies to compare, instead of the recipe's: majority, linear, linear_pooled, linear_shared_private, trees, "
        "single, single_all, joint, sum, static, lora, grouped, merge_average, "
        "merge_task_arithmetic, merge_ties, merge_dare.",
    ),
    Shorthand("seeds", "compare.seeds={}", int | None, "N", "Instead of the number in the recipe."),
    Shorthand(
        "trials",
        "compare.trials={}",
        int | None,
        "N",
        "Settings tried for every model, the best on validation rows taken; 0: none are tuned.",
    ),
)


@with_shorthands(_SHORTHANDS)
def compare(
    recipe: RecipeFile,
    run: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The folder to write; runs/NAME-compare by default."),
    ] = None,
    overrides: Overrides = None,
    plugins: Plugins = None,
) -> None:
    """Compare ways of training over paired seeds; go on if the folder holds some already."""
    from polytask import api
    from polytask.reports.comparison_text import render_comparison

    loaded = open_recipe(recipe, overrides, plugins)
    folder = run or api.RUNS / f"{loaded.name}-compare"
    typer.echo(render_comparison(api.compare(loaded, folder)))
    typer.echo(f"Run folder: {folder}")
