"""``polytask`` in processes of their own that need not import PyTorch again."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.end_to_end.preload"])


@dataclass(frozen=True)
class Moment:
    """Just before the n-th file operation of a kind whose arguments hold some text.

    :param event: Name of the audit event: ``open``, ``os.rename``, ...
    :param text: Part of a path.
    """

    event: str
    text: str
    number: int = 1


@dataclass(frozen=True)
class Forked:
    """A forked process, seen as ``subprocess.Popen`` would show it."""

    process: ForkServerProcess

    @property
    def pid(self) -> int:
        """Its number."""
        assert self.process.pid is not None
        return self.process.pid

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended."""
        self.process.join(timeout)
        assert self.process.exitcode is not None
        return self.process.exitcode


def fork(arguments: Sequence[str], log: Path, crash: Moment | None = None) -> Forked:
    """Start ``polytask`` with arguments.

    :param log: Gets what it prints.
    :param crash: When it shall kill itself, if at all.
    """
    process = _CONTEXT.Process(target=_main, args=(arguments, log, crash))
    process.start()
    return Forked(process)


def crashing(moment: Moment) -> partial[Forked]:
    """A ``fork`` of processes that kill themselves at a moment."""
    return partial(fork, crash=moment)


def _main(arguments: Sequence[str], log: Path, crash: Moment | None) -> None:
    with log.open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    if crash is not None:
        _crash_at(crash)
    tempfile.tempdir = str(log.parent)  # what a killed process leaves behind goes with the test
    from polytask.cli import main

    sys.argv = ["polytask", *arguments]
    main()


def _crash_at(moment: Moment) -> None:
    numbers = itertools.count(1)

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        meant = event == moment.event and any(moment.text in str(each) for each in arguments)
        if meant and next(numbers) == moment.number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
