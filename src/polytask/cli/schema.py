"""``polytask schema``."""

from __future__ import annotations

import json

import typer

from polytask.cli.options import Plugins, open_plugins


def schema(plugins: Plugins = None) -> None:
    """Print the JSON Schema of recipes, for completion and checks in editors."""
    from polytask.recipe import json_schema

    open_plugins(plugins)
    typer.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
