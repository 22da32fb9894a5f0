"""``polytask remove``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from polytask.cli.options import Plugins, RunPath, open_plugins


def remove(
    run: RunPath,
    task: Annotated[
        str, typer.Argument(metavar="TASK", help="The task to leave out.", show_default=False)
    ],
    new: Annotated[
        Path | None,
        typer.Option(
            "--run", metavar="DIR", help="The run folder to write; RUN-without-TASK by default."
        ),
    ] = None,
    plugins: Plugins = None,
) -> None:
    """Write a copy of a run without one task; predictions of the others do not change."""
    from polytask import api

    open_plugins(plugins)
    typer.echo(f"Run folder: {api.remove(run, task, new).path}")
