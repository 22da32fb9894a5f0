"""Does what a page of the documentation says: ``python -m tests.docs.walk PAGE``, in an empty folder.

Of the fenced blocks of a page, one that names a file (```` ```yaml file=shop.yaml ````) is written
to it, ``bash`` and ``python`` blocks are run in order, and ``text exact`` blocks are compared with
what the block before them printed. ``exit=N`` is the exit code a block is expected to end with,
``skip`` marks what is not run, such as the installation.

Pages are walked in a process of their own because they register parts. Blocks of nothing but
``polytask`` commands are run inside of that process, which saves the start-up time of each.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from polytask.cli import app

_FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SHELL = re.compile(r"[|&;<>$`*#]")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    :param language: The first word after the fence.
    :param options: The words after it, ``a=b`` or ``a``.
    :param line: The line of the fence.
    """

    language: str
    options: dict[str, str]
    text: str
    line: int


def blocks(page: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    for fence in _FENCE.finditer(page):
        language, options, text = fence.groups()
        named = dict(option.partition("=")[::2] for option in options.split())
        yield Block(language, named, text, page[: fence.start()].count("\n") + 1)


def walk(page: Path) -> None:
    """Do what a page says, in the working folder."""
    names: dict[str, Any] = {}
    printed = ""
    for block in blocks(page.read_text(encoding="utf-8")):
        if "skip" in block.options:
            continue
        place = f"{page}:{block.line}"
        if "file" in block.options:
            Path(block.options["file"]).write_text(block.text, encoding="utf-8")
        elif block.language == "bash":
            code, printed = _run(block.text)
            expected = int(block.options.get("exit", 0))
            assert code == expected, f"{place}: exit code {code}, not {expected}:\n{printed}"
        elif block.language == "python":
            exec(compile(block.text, place, "exec"), names)
        elif "exact" in block.options:
            assert printed.strip() == block.text.strip(), f"{place}: printed was\n{printed}"


def _run(commands: str) -> tuple[int, str]:
    """Run a block of commands until one fails; its exit code, and what all of them printed."""
    lines = commands.splitlines()
    if _SHELL.search(commands) or not all(line.startswith("polytask ") for line in lines):
        bash = ["bash", "-euo", "pipefail", "-c", commands]
        done = subprocess.run(bash, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.returncode, done.stdout
    printed = ""
    for line in lines:
        result = CliRunner().invoke(app, shlex.split(line)[1:])
        printed += result.output
        if result.exit_code:
            return result.exit_code, printed
    return 0, printed


if __name__ == "__main__":
    walk(Path(sys.argv[1]))
