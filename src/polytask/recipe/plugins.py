"""Plugins that register parts: files named on the command line, and installed packages."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path

from polytask.core.errors import RecipeError
from polytask.core.files import read_json, sha256
from polytask.core.run_folder import RunFolder

GROUP = "polytask.parts"
"""The entry point group of plugins; the named modules register parts when imported."""

_loaded: dict[Path, str] = {}
"""The files that this process has run, and their SHA-256."""


def load_plugins(files: Sequence[Path] = ()) -> None:
    """Import the plugins of installed packages and the named files.

    :param files: Python files that register parts; each is run once.
    :raises RecipeError: If one of them is missing or fails, with file and line.
    """
    for entry in entry_points(group=GROUP):
        with _explain_errors(entry.value):
            entry.load()
    for file in files:
        if file.resolve() not in _loaded:
            _run(file.resolve(), f"polytask_plugin_{file.stem}")


def get_loaded_plugins() -> list[dict[str, str]]:
    """Return path and SHA-256 of each plugin file that this process has run."""
    return [{"path": str(file), "sha256": digest} for file, digest in _loaded.items()]


def find_missing_plugins(run: RunFolder) -> list[str]:
    """Return the plugin files that a run was trained with and this process has not run."""
    recorded = read_json(run.facts).get("plugins", ()) if run.facts.is_file() else ()
    return [plugin["path"] for plugin in recorded if Path(plugin["path"]) not in _loaded]


def describe_missing_plugins(run: RunFolder) -> list[str]:
    """Return a hint with the missing plugins of a run; empty if none are missing."""
    options = " ".join(f"--plugin {path}" for path in find_missing_plugins(run))
    return [f"{run.path}: was trained with plugins. Give them again: {options}"] if options else []


def _run(file: Path, name: str) -> None:
    """Import a file as a module with the given name."""
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise RecipeError([f"--plugin {file}: no such Python file."])
    module = importlib.util.module_from_spec(spec)
    digest = sha256(file)
    with _explain_errors(str(file)):
        spec.loader.exec_module(module)
    sys.modules[name] = module  # parts look up their module for its documentation
    _loaded[file] = digest


@contextmanager
def _explain_errors(plugin: str) -> Iterator[None]:
    """Raise any error of a plugin as a RecipeError that names the plugin's last line."""
    try:
        yield
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        last = [frame for frame in frames if frame.filename == plugin] or frames
        file, line = last[-1].filename, last[-1].lineno
        if isinstance(error, SyntaxError):
            file, line = error.filename or file, error.lineno
        found = f"{file}:{line}: {type(error).__name__}: {error}"
        raise RecipeError([f"plugin {plugin}: {found}"]) from error
