"""``polytask analyse``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from polytask.cli.options import Plugins, open_plugins
from polytask.core.errors import RecipeError


@dataclass
class Analyse:
    """Measure how tasks help or hurt each other, and propose which should share a model."""

    target: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|RECIPE",
            help="The folder of a run; with --curve or --pairwise also a recipe.",
            show_default=False,
        ),
    ]
    pairwise: Annotated[
        bool, typer.Option("--pairwise", help="Train every pair of tasks, and each task alone.")
    ] = False
    models: Annotated[
        int | None, typer.Option(metavar="K", min=1, help="Group the tasks into at most K models.")
    ] = None
    parameters: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Largest number of parameters of all models together."
        ),
    ] = None
    overlap: Annotated[
        bool, typer.Option("--overlap", help="Let a task also help in models used for other tasks.")
    ] = False
    verify: Annotated[
        bool, typer.Option("--verify", help="Train the proposed groups to check the prediction.")
    ] = False
    curve: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...", help="Compare single and joint with N training rows per task."
        ),
    ] = None
    seeds: Annotated[
        int, typer.Option(metavar="N", min=1, help="Number of repetitions of these trainings.")
    ] = 1
    steps: Annotated[
        int, typer.Option(metavar="N", min=1, help="Number of batches to measure the model on.")
    ] = 20
    plugins: Plugins = None

    def __post_init__(self) -> None:
        """Analyse. The command is a class because it has too many options for a function."""
        from polytask import api
        from polytask.reports.analysis_tables import render_analysis

        sizes = _sizes(self.curve)
        open_plugins(self.plugins)
        found = api.analyse(
            self.target if self.target.is_dir() else api.load_recipe(self.target),
            steps=self.steps,
            models=self.models,
            parameters=self.parameters,
            overlapping=self.overlap,
            pairwise=self.pairwise,
            verify=self.verify,
            seeds=self.seeds,
            curve=sizes,
        )
        typer.echo(render_analysis(found), nl=False)
        typer.echo(f"Records: {found['folder']}")
        if self.target.is_dir():
            typer.echo(f"Report: {api.report(self.target)}")


def _sizes(text: str | None) -> tuple[int, ...]:
    parts = [] if text is None else text.split(",")
    if not all(part.strip().isdecimal() and int(part) for part in parts):
        raise RecipeError([f"--curve: found {text!r}, expected numbers of rows, as in 50,100,200."])
    return tuple(map(int, parts))
