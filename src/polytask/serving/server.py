"""Runs the application with uvicorn: one process, started and stopped by signals."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from typing_extensions import override

from polytask.assembly.run.loaded_run import LoadedRun
from polytask.core.errors import RunError
from polytask.core.run_folder import RunFolder
from polytask.serving.app import new_app
from polytask.serving.batching import Limits
from polytask.serving.host import Host, name_runs
from polytask.serving.options import ServeOptions

_GRACE_SECONDS = 0.2
"""Time in which a request arrives on a connection that is open when the server stops."""

_SWITCH_SECONDS = 5e-4
"""Longest time that the thread of requests keeps the thread that computes from its next operation."""


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    :raises RunError: If the address is in use or not allowed.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # By name: with the default protocol, event loops do not switch off the delay of small packets.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise RunError(
            f"{host}:{port}: {error.strerror}. Choose another port with --port; 0 takes any that is free."
        ) from error
    return listening


def serve_runs(
    runs: Sequence[Path], options: ServeOptions, ready: Callable[[str], object] = lambda _: None
) -> None:
    """Serve run folders until SIGTERM or Ctrl-C.

    :param ready: Called with the address once requests are taken.
    :raises RunError: If the port is taken, or a run cannot be loaded or does not answer as it did.
    """
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
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=5,
        lifespan="off",
    )
    server = _Server(config, host)
    sys.setswitchinterval(_SWITCH_SECONDS)
    failures: list[Exception] = []

    def start() -> None:
        try:
            host.start()
            address, port = listening.getsockname()[:2]
            ready(f"http://{address}:{port}/")
        except Exception as error:  # noqa: BLE001 - raised again in the main thread
            failures.append(error)
            server.should_exit = True

    threading.Thread(target=start, name="polytask-start", daemon=True).start()
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(server.serve(sockets=[listening]))
    host.stop()
    if failures:
        raise failures[0]


def _accept_all(listening: socket.socket) -> Iterator[socket.socket]:
    """Yield the connections that wait at a socket that does not block."""
    with suppress(BlockingIOError):
        while True:
            connection, _ = listening.accept()
            connection.setblocking(False)
            yield connection


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, host: Host) -> None:
        super().__init__(config)
        self._host = host

    @override
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals without raising them again at the end: draining ends in exit code 0."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may handle signals
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self._stop) for number in numbers}
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._reload)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take the connections that wait, then let none in; each is answered before it is closed.

        A listener that is closed resets the connections that wait to be accepted.
        """
        own: Any = self.config.http_protocol_class
        state = {"server_state": self.server_state, "app_state": self.lifespan.state}
        protocol = partial(own, config=self.config, **state)
        waiting = [connection for one in sockets or [] for connection in _accept_all(one)]
        for server in self.servers:
            server.close()
        for one in sockets or []:
            one.close()
        loop = asyncio.get_running_loop()
        for connection in waiting:
            await loop.connect_accepted_socket(protocol, connection)
        await asyncio.sleep(_GRACE_SECONDS)
        await super().shutdown(sockets)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._host.state = "stopping"
        self._host.note("stopping", signal=signal.Signals(number).name)
        self.handle_exit(number, frame)

    def _reload(self, number: int, frame: FrameType | None) -> None:
        threading.Thread(target=self._host.reload, name="polytask-reload", daemon=True).start()
