"""``polytask describe``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from polytask.cli.options import Overrides, Plugins, open_plugins


class Form(StrEnum):
    """An output format of a description."""

    table = "table"
    mermaid = "mermaid"
    svg = "svg"
    json = "json"


def describe(
    target: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|RECIPE",
            help="The folder of a run, or a recipe.",
            show_default=False,
        ),
    ],
    form: Annotated[
        Form, typer.Option("--format", help="Output format: table, mermaid, svg or json.")
    ] = Form.table,
    overrides: Overrides = None,
    plugins: Plugins = None,
) -> None:
    """Show the layers and parameters that tasks share, and the FLOPs of each task."""
    import json

    from polytask import api
    from polytask.reports.structure import mermaid, render_structure, svg

    open_plugins(plugins)
    found = api.describe(target if target.is_dir() else api.load_recipe(target, overrides or ()))
    written: dict[Form, Callable[[Mapping[str, Any]], str]] = {
        Form.table: render_structure,
        Form.mermaid: mermaid,
        Form.svg: svg,
        Form.json: lambda record: json.dumps(record, indent=2, ensure_ascii=False) + "\n",
    }
    typer.echo(written[form](found), nl=False)
