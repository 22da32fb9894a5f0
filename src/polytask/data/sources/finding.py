"""Finds the files that a source names."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from polytask.core.errors import DataError

_PATTERN = "*?["
"""Characters that make a name a pattern."""

_PACKED = ".gz"
_HIDDEN = (".", "_")
"""First characters of names such as ``.crc`` and ``_SUCCESS``."""


def find_all(name: str, search: tuple[Path, ...], suffixes: tuple[str, ...]) -> list[Path]:
    """Return the files of a name, which may be a file, a folder of files, or a pattern.

    Files are sorted by name. In a folder, only files with one of the suffixes count.

    :raises DataError: If there are none.
    """
    try:
        for path in _candidates(name, search):
            if path.is_dir():
                return _in_folder(path, suffixes)
        if any(character in name for character in _PATTERN):
            return _match_pattern(name, search)
        return [find(name, search)]
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}.") from error


def _candidates(name: str, search: tuple[Path, ...]) -> list[Path]:
    wanted = Path(name).expanduser()
    return [folder / wanted for folder in search] or [wanted]


def _in_folder(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    shown = [path for path in sorted(folder.iterdir()) if _is_shown(path)]
    found = [path for path in shown if path.name.lower().removesuffix(_PACKED).endswith(suffixes)]
    if not found:
        names = ", ".join(path.name for path in shown[:3]) or "nothing"
        raise DataError(
            f"{folder}: the folder holds no file named {' or '.join(f'*{s}' for s in suffixes)}; "
            f"found {names}{', ...' if len(shown) > 3 else ''}. Name the files: {folder.name}/*."
        )
    return found


def _match_pattern(name: str, search: tuple[Path, ...]) -> list[Path]:
    wanted = Path(name).expanduser()
    for path in _candidates(name, search):
        if path.is_file():
            return [path]
    folders = [Path(wanted.anchor)] if wanted.is_absolute() else [*search] or [Path()]
    pattern = str(wanted.relative_to(wanted.anchor))
    for folder in folders:
        try:
            found = [path for path in sorted(folder.glob(pattern)) if _is_shown(path)]
        except ValueError as error:
            raise DataError(f"{name}: not a pattern of names: {error}.") from error
        if found:
            return found
    raise DataError(f"{name}: no file matches this pattern.{_describe_search(wanted, search)}")


def _is_shown(path: Path) -> bool:
    return not path.name.startswith(_HIDDEN) and path.is_file()


def find(name: str, search: tuple[Path, ...]) -> Path:
    """Return the first file of this name in the folders of ``search``.

    :raises DataError: If there is none; lists the folders and the nearest name.
    """
    wanted = Path(name).expanduser()
    candidates = _candidates(name, search)
    for path in candidates:
        if path.is_file():
            return path
    if any(path.is_dir() for path in candidates):
        raise DataError(f"{name}: a folder was found where a file was expected.")
    raise DataError(
        f"{name}: no such file.{_nearest(candidates)}{_describe_search(wanted, search)}"
    )


def _describe_search(wanted: Path, search: tuple[Path, ...]) -> str:
    if wanted.is_absolute():
        return ""
    folders = ", ".join(map(str, search)) or str(Path.cwd())
    unset = "POLYTASK_DATA" not in os.environ
    hint = " Set POLYTASK_DATA to the folder that holds your data." if unset else ""
    return f" Looked in {folders}.{hint}"


def _nearest(candidates: list[Path]) -> str:
    """Return a question with the names closest to the first part of a path that does not exist."""
    for path in candidates:
        missing = next((p for p in [*reversed(path.parents), path] if not p.exists()), path)
        if not missing.parent.is_dir():
            continue
        names = sorted(entry.name for entry in missing.parent.iterdir())
        close = difflib.get_close_matches(missing.name, names, n=3, cutoff=0.7)
        if close:
            return f" Did you mean {' or '.join(str(missing.with_name(n)) for n in close)}?"
    return ""
