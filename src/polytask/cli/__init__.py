"""The command line: one file per command, each a call of ``polytask.api`` that prints its result.

Slow imports are inside the commands, so that ``--help`` is immediate. Start reading at ``app``, then
``train``.
"""

from polytask.cli.app import app, main

__all__ = ["app", "main"]
