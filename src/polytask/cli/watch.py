"""``polytask watch``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from polytask.cli.options import Language


def watch(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="The folder of a training, which may not exist yet.",
            show_default=False,
        ),
    ],
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="The port; 0: any free port.")
    ] = 8765,
    language: Language = "en",
) -> None:
    """Show a running training in a browser on this machine, until Ctrl-C."""
    from polytask import api

    api.watch(run, port, language=language, ready=lambda url: typer.echo(f"{url}  (Ctrl-C ends)"))
