"""Runs an application with uvicorn: one process, started and stopped by signals."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from typing_extensions import override

from polytask.core.errors import RunError

_GRACE_SECONDS = 0.2
"""Time in which a request arrives on a connection that is open when the server stops."""

_SWITCH_SECONDS = 5e-4
"""Longest time that the thread of requests keeps the thread that computes from its next operation."""


@dataclass(frozen=True)
class Life:
    """The callbacks of an application for the events of its process.

    :param start: Called in a thread once the socket listens.
    :param ready: Called with the address once ``start`` has returned.
    :param stopping: Called with the name of the signal that ends the process.
    :param reload: Called in a thread at SIGHUP.
    """

    start: Callable[[], object] = lambda: None
    ready: Callable[[str], object] = lambda address: None
    stopping: Callable[[str], object] = lambda name: None
    reload: Callable[[], object] = lambda: None


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


def run_app(app: Any, listening: socket.socket, life: Life) -> None:
    """Answer requests until SIGTERM or Ctrl-C; then answer what was accepted, and return.

    :raises Exception: What ``life.start`` raises.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=5,
        lifespan="off",
    )
    server = _Server(config, life)
    sys.setswitchinterval(_SWITCH_SECONDS)
    failures: list[Exception] = []

    def start() -> None:
        try:
            life.start()
            address, port = listening.getsockname()[:2]
            life.ready(f"http://{address}:{port}/")
        except Exception as error:  # noqa: BLE001 - raised again in the main thread
            failures.append(error)
            server.should_exit = True

    threading.Thread(target=start, name="polytask-start", daemon=True).start()
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(server.serve(sockets=[listening]))
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
    def __init__(self, config: uvicorn.Config, life: Life) -> None:
        super().__init__(config)
        self._life = life

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
        self._life.stopping(signal.Signals(number).name)
        self.handle_exit(number, frame)

    def _reload(self, number: int, frame: FrameType | None) -> None:
        threading.Thread(target=self._life.reload, name="polytask-reload", daemon=True).start()
