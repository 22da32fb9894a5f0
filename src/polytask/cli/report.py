"""``polytask report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from polytask.cli.options import Language


def report(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="The folder of a run or of a comparison.", show_default=False
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The file to write; report.html in DIR by default."),
    ] = None,
    language: Language = "en",
) -> None:
    """Write the report of a run or of a comparison: one self-contained HTML file."""
    from polytask import api

    typer.echo(f"Report: {api.report(folder, out, language=language)}")
