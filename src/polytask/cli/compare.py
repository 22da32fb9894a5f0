"""``polytask compare``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from polytask.cli.options import Overrides, Plugins, RecipeFile, open_recipe


@dataclass
class Compare:
    """Compare strategies over paired seeds. Trainings that the folder already holds are kept."""

    recipe: RecipeFile
    run: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The folder to write; runs/NAME-compare by default."),
    ] = None
    overrides: Overrides = None
    plugins: Plugins = None
    strategies: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,C",
            help="Strategies to compare, instead of the recipe's: majority, linear, linear_pooled, "
            "linear_shared_private, trees, single, single_all, joint, sum, static, lora, grouped, "
            "merge_average, merge_task_arithmetic, merge_ties, merge_dare.",
        ),
    ] = None
    seeds: Annotated[
        int | None, typer.Option(metavar="N", help="Number of seeds, instead of the recipe's.")
    ] = None
    trials: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Number of settings tried for every model; the best on validation rows is used. "
            "0: no tuning.",
        ),
    ] = None

    def __post_init__(self) -> None:
        """Compare. The command is a class because it has too many options for a function."""
        from polytask import api
        from polytask.reports.comparison_text import render_comparison

        names = None if self.strategies is None else f"[{self.strategies}]"
        chosen = {"strategies": names, "seeds": self.seeds, "trials": self.trials}
        changes = [f"compare.{key}={value}" for key, value in chosen.items() if value is not None]
        # later changes win: the options count more than --set
        loaded = open_recipe(self.recipe, [*(self.overrides or ()), *changes], self.plugins)
        folder = self.run or api.RUNS / f"{loaded.name}-compare"
        typer.echo(render_comparison(api.compare(loaded, folder)))
        typer.echo(f"Run folder: {folder}")
