"""``polytask serve``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from polytask.cli.options import Plugins, open_plugins


@dataclass
class Serve:
    """Answer requests over HTTP with one encoder pass for all tasks; Ctrl-C ends it.

    The playground is at /, the documentation of requests at /docs, metrics at /metrics.
    """

    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Run folders; requests name the run by its folder."),
    ]
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="The address; 0.0.0.0 listens on all networks.")
    ] = "127.0.0.1"
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="The port; 0 takes any that is free.")
    ] = 8080
    key_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A file with the bearer key that clients must send. POLYTASK_API_KEY does the same.",
        ),
    ] = None
    timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="Longest time until an answer.")
    ] = 30.0
    max_rows: Annotated[int, typer.Option(min=1, metavar="N", help="Most rows of a request.")] = (
        1_000
    )
    max_body_mb: Annotated[
        float, typer.Option(min=0.001, metavar="MB", help="Largest body of a request.")
    ] = 16.0
    queue_tokens: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="Most tokens that wait; more are refused with 429."),
    ] = 262_144
    queue_requests: Annotated[
        int, typer.Option(min=1, metavar="N", help="Most requests that wait.")
    ] = 256
    batch_tokens: Annotated[
        int, typer.Option(min=1, metavar="N", help="Tokens that are computed together.")
    ] = 8_192
    batch_window: Annotated[
        float,
        typer.Option(
            min=0, metavar="MS", help="Milliseconds that a row waits for others to join it."
        ),
    ] = 2.0
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 or auto.")] = None
    plugins: Plugins = None
    precision: Annotated[str | None, typer.Option(help="fp32, bf16, fp16 or auto.")] = None

    def __post_init__(self) -> None:
        """Serve: the command line calls a command, and this one has too many options for a call."""
        from polytask import api

        open_plugins(self.plugins)
        key = os.environ.get("POLYTASK_API_KEY")
        if self.key_file is not None:
            key = self.key_file.read_text(encoding="utf-8").strip()
        api.serve(
            self.runs,
            address=self.host,
            port=self.port,
            key=key or None,
            seconds=self.timeout,
            rows=self.max_rows,
            body_bytes=int(self.max_body_mb * 2**20),
            queue_tokens=self.queue_tokens,
            queue_requests=self.queue_requests,
            group_tokens=self.batch_tokens,
            window=self.batch_window / 1000,
            device=self.device,
            precision=self.precision,
            ready=lambda address: typer.echo(f"{address}  (Ctrl-C ends)", err=True),
        )
