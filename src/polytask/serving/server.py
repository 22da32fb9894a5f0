"""Serves runs: an application, its runs, and the process of both."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from polytask.assembly.run.loaded_run import LoadedRun
from polytask.core.run_folder import RunFolder
from polytask.serving.app import new_app
from polytask.serving.batching import Limits
from polytask.serving.host import Host, name_runs
from polytask.serving.options import ServeOptions
from polytask.serving.process import Life, bind, run_app


def serve_runs(
    runs: Sequence[Path], *, ready: Callable[[str], object] = lambda _: None, **others: Any
) -> None:
    """Serve run folders until SIGTERM or Ctrl-C.

    :param ready: Called with the address once requests are taken.
    :param others: Options of ``ServeOptions``.
    :raises RunError: If the port is taken, or a run cannot be loaded or does not answer as it did.
    """
    options = ServeOptions(**others)
    folders = name_runs(runs)
    limits = Limits(
        options.queue_requests, options.queue_tokens, options.group_tokens, options.window
    )
    load = partial(_load, device=options.device, precision=options.precision)
    listening = bind(options.address, options.port)
    host = Host(folders, load, limits)
    run_server(new_app(host, options), host, listening, ready)


def _load(path: Path, *, device: str | None, precision: Any) -> LoadedRun:
    return LoadedRun.load(RunFolder(path), device=device, precision=precision)


def run_server(
    app: Any, host: Host, listening: socket.socket, ready: Callable[[str], object] = lambda _: None
) -> None:
    """Answer requests until SIGTERM or Ctrl-C; then answer what was accepted, and return.

    SIGHUP loads the runs again. The runs are loaded after the socket listens, so that probes are
    answered meanwhile.

    :param ready: Called with the address once requests are taken.
    :raises RunError: If a run cannot be loaded, or does not answer as it did.
    """

    def stopping(name: str) -> None:
        host.state = "stopping"
        host.note("stopping", signal=name)

    try:
        run_app(app, listening, Life(host.start, ready, stopping, host.reload))
    finally:
        host.stop()
