"""Parts from elsewhere: files named on the command line, and installed packages."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path

from polytask.core.errors import RecipeError

GROUP = "polytask.parts"
"""Entry points of this group are imported; the modules they name register their parts."""


def load_plugins(files: Sequence[Path] = ()) -> None:
    """Make parts from elsewhere available to recipes: of installed packages, and of files.

    :param files: Python files that register parts; each is run once.
    :raises RecipeError: If one of them is missing or fails, with file and line.
    """
    for entry in entry_points(group=GROUP):
        try:
            entry.load()
        except Exception as error:
            raise RecipeError([f"plugin {entry.value}: {_failure(error)}"]) from error
    for file in files:
        _run(file.resolve(), f"polytask_plugin_{file.stem}")


def _run(file: Path, name: str) -> None:
    """Import a file as a module of that name, unless it has been."""
    if getattr(sys.modules.get(name), "__file__", None) == str(file):
        return
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise RecipeError([f"--plugin {file}: no such Python file."])
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise RecipeError([f"--plugin {_failure(error)}"]) from error


def _failure(error: Exception) -> str:
    """Where and how a plugin failed."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}: {type(error).__name__}: {error.msg}"
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{place.filename}:{place.lineno}: {type(error).__name__}: {error}"
