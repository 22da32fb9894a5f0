"""``polytask export``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from polytask.cli.options import Plugins, RunPath, open_plugins


@dataclass
class Export:
    """Write a run for other libraries, after comparing the export with the run on stored rows."""

    run: RunPath
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="The folder to write; new.", show_default=False),
    ]
    to: Annotated[
        str,
        typer.Option(
            metavar="onnx|huggingface",
            help="onnx: encoder and heads as one file for onnxruntime. huggingface: folders for "
            "transformers and sentence-transformers.",
        ),
    ]
    tasks: Annotated[
        str | None,
        typer.Option(metavar="A,B,C", help="Tasks to export; all that the format can hold."),
    ] = None
    int8: Annotated[
        bool,
        typer.Option(
            "--int8",
            help="Compute matrix products in int8. Needs --to onnx and the data files of the run.",
        ),
    ] = False
    max_loss: Annotated[
        float,
        typer.Option(
            metavar="POINTS",
            help="With --int8: the most points that the main metric of a task may lose, as 0.5 "
            "for an accuracy of 0.900 that falls to 0.895.",
        ),
    ] = 0.5
    plugins: Plugins = None

    def __post_init__(self) -> None:
        """Export. The command is a class because it has too many options for a function."""
        from polytask import api

        open_plugins(self.plugins)
        done = api.export(
            self.run,
            self.folder,
            self.to,
            None if self.tasks is None else [name.strip() for name in self.tasks.split(",")],
            int8=self.int8,
            max_loss=self.max_loss,
            note=lambda text: typer.echo(f"note: {text}", err=True),
        )
        typer.echo(f"Export: {done}")
