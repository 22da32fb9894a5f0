"""Several ranks of one process group, started and ended together."""

from __future__ import annotations

import multiprocessing
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.end_to_end.preload"])
_SECONDS = 400.0  # many times what they take, as machines may be busy


def start(
    world: int, log: Path, function: Callable[..., object], *arguments: Any
) -> list[ForkServerProcess]:
    """Start a function in as many processes, with the environment that torchrun gives to each.

    :param log: Gets what they print.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {
        "WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo",
    }
    processes = [
        _CONTEXT.Process(
            target=_main,
            args=({**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}, log, function, arguments),
            daemon=True,
        )
        for rank in range(world)
    ]
    for process in processes:
        process.start()
    return processes


def wait(processes: Sequence[ForkServerProcess]) -> list[int | None]:
    """The exit codes of all, once they have ended; whatever hangs is killed."""
    deadline = time.monotonic() + _SECONDS
    try:
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
        return [process.exitcode for process in processes]
    finally:
        kill(processes)


def kill(processes: Sequence[ForkServerProcess]) -> None:
    """End all that are still there."""
    for process in processes:
        process.kill()
    for process in processes:
        process.join()


def run(world: int, log: Path, function: Callable[..., object], *arguments: Any) -> None:
    """Run a function in as many processes, all of which have to end well."""
    codes = wait(start(world, log, function, *arguments))
    assert codes == [0] * world, f"{codes}\n{log.read_text('utf-8')}"


@contextmanager
def group(backend: str = "gloo") -> Iterator[None]:
    """The group of the processes that were started together; with nccl, each on its own device."""
    import torch
    import torch.distributed as dist

    if backend == "nccl":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group(backend, timeout=timedelta(seconds=_SECONDS))
    try:
        yield
    finally:
        dist.destroy_process_group()


def _main(
    environment: Mapping[str, str],
    log: Path,
    function: Callable[..., object],
    arguments: Sequence[Any],
) -> None:
    with log.open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.environ.update(environment)
    function(*arguments)
