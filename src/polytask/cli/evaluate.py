"""``polytask evaluate``."""

from __future__ import annotations

from typing import Annotated

import typer

from polytask.cli.options import Plugins, RunPath, open_plugins


def evaluate(
    run: RunPath,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="SPLIT",
            help="test, validation or train. Default: test, or validation if there is no test.",
        ),
    ] = None,
    task_best: Annotated[
        bool,
        typer.Option(
            "--task-best",
            help="Score each task with the model of the task's best validation. Needs a run "
            "trained with training.task_best.",
        ),
    ] = False,
    plugins: Plugins = None,
) -> None:
    """Score a run with confidence intervals, and write its predictions."""
    from polytask import api
    from polytask.cli.progress import count_rows
    from polytask.reports.tables import render_scores

    open_plugins(plugins)
    with count_rows("scoring") as count:
        scores = api.evaluate(run, split, task_best=task_best, progress=count)
    typer.echo(render_scores(scores))
