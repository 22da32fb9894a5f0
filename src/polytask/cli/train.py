"""``polytask train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from polytask.cli.options import Overrides, Plugins, RecipeFile, open_recipe


def train(
    recipe: RecipeFile,
    run: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The run folder to write; runs/NAME by default."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume the training in the folder.")
    ] = False,
    overrides: Overrides = None,
    plugins: Plugins = None,
) -> None:
    """Train a recipe, write its run folder, and score it on held-out rows."""
    from polytask import api
    from polytask.core.files import read_json
    from polytask.reports.tables import render_scores
    from polytask.training.processes import is_first

    finished = api.train(open_recipe(recipe, overrides, plugins), run, resume=resume)
    if not is_first():  # of several processes, one prints
        return
    found = read_json(finished.scores) if finished.scores.is_file() else {}
    for split, scores in found.items():
        typer.echo(f"{split}\n{render_scores(scores)}")
    typer.echo(f"Run folder: {finished.path}")
