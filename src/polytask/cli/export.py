"""``polytask export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from polytask.cli.options import Plugins, RunPath, open_plugins


def export(
    run: RunPath,
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="The folder to write; new.", show_default=False),
    ],
    to: Annotated[
        str,
        typer.Option(
            metavar="onnx|huggingface",
            help="onnx: encoder and heads as one file for onnxruntime. huggingface: folders for "
            "transformers and sentence-transformers.",
        ),
    ],
    tasks: Annotated[
        str | None,
        typer.Option(metavar="A,B,C", help="Tasks to export; all that the format can hold."),
    ] = None,
    plugins: Plugins = None,
) -> None:
    """Write a run for other libraries, after comparing the export with the run on stored rows."""
    from polytask import api

    open_plugins(plugins)
    names = None if tasks is None else [name.strip() for name in tasks.split(",")]
    done = api.export(
        run, folder, to, names, note=lambda text: typer.echo(f"note: {text}", err=True)
    )
    typer.echo(f"Export: {done}")
