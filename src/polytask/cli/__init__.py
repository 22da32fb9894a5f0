"""The command line: one file per command; each calls the API and prints.

Whatever costs time is imported inside the commands, so that ``--help`` is immediate.
"""

from polytask.cli.app import app, main

__all__ = ["app", "main"]
