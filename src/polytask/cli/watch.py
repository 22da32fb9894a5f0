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
            help="The folder that a training writes, or will write.",
            show_default=False,
        ),
    ],
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="The port; 0 takes any that is free.")
    ] = 8765,
    language: Language = "en",
) -> None:
    """Show a training while it runs, in a browser on this machine; Ctrl-C ends it."""
    from polytask import api

    api.watch(run, port, language=language, ready=_say)


def _say(address: str) -> None:
    typer.echo(f"{address}  (Ctrl-C ends)")
