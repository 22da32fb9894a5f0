"""Sealed folders: written completely or not at all, and verified byte by byte.

A sealed folder is written under a temporary name and flushed to disk. It receives a
``manifest.json`` with the size and SHA-256 of every file, and is only then renamed. The manifest
holds a SHA-256 of itself, so every byte of the folder is covered.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from polytask.core.errors import RunError
from polytask.core.files import sha256, sync

MANIFEST = "manifest.json"
_TEMPORARY = re.compile(r"\..+\.(\d+)")
REPLACED = ".replaced"


@contextlib.contextmanager
def sealed_folder(path: Path, facts: Mapping[str, Any] | None = None) -> Iterator[Path]:
    """Return a folder to fill, which replaces ``path`` when the block ends.

    An older folder is called ``NAME.replaced`` between two renames. If the process dies there, the
    older folder is complete under that name.

    :param facts: JSON for the manifest.
    :raises OSError: If a file cannot be written; an older folder then stays in place.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent)
    temporary = _temporary(path)
    temporary.mkdir()
    try:
        yield temporary
        _seal(temporary, facts or {})
        _put_in_place(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def verify_sealed(folder: Path) -> dict[str, Any]:
    """Check every byte of a sealed folder.

    :return: The facts of its manifest.
    :raises RunError: If a file is missing or has changed; the message names the first one.
    """
    manifest = _read_manifest(folder)
    verify_files(folder, manifest["files"])
    facts: dict[str, Any] = manifest["facts"]
    return facts


def describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the size and SHA-256 of every file in a folder, by its path there."""
    return {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def verify_files(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Check every byte of files.

    :param files: As ``describe_files`` returned them.
    :raises RunError: If a file is missing or has changed; the message names the first one.
    """
    for name, written in files.items():
        _verify_file(folder / name, written)


def remove_sealed(path: Path) -> None:
    """Delete a sealed folder; a crash half-way leaves a temporary folder, not a damaged one."""
    temporary = _temporary(path)
    path.rename(temporary)
    shutil.rmtree(temporary)


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary folders of processes that have ended."""
    for path in folder.iterdir():
        match = _TEMPORARY.fullmatch(path.name)
        if match and path.is_dir() and not _is_other_process(int(match[1])):
            shutil.rmtree(path, ignore_errors=True)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}")


def _is_other_process(pid: int) -> bool:
    """Return whether another process with this id is running."""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _seal(folder: Path, facts: Mapping[str, Any]) -> None:
    # Everything must be on disk before the rename: a crash after it could leave empty files.
    for path in sorted(folder.rglob("*")):
        sync(path)
    manifest = folder / MANIFEST
    manifest.write_bytes(_render({"facts": dict(facts), "files": describe_files(folder)}))
    sync(manifest)
    sync(folder)


def _put_in_place(temporary: Path, path: Path) -> None:
    older = path.with_name(path.name + REPLACED)
    if path.is_dir():
        shutil.rmtree(older, ignore_errors=True)
        path.rename(older)
    temporary.rename(path)
    sync(path.parent)
    shutil.rmtree(older, ignore_errors=True)


def _render(manifest: dict[str, Any]) -> bytes:
    body = json.dumps(manifest, indent=2, sort_keys=True)
    digest = hashlib.sha256(body.encode()).hexdigest()
    return (json.dumps({**manifest, "sha256": digest}, indent=2, sort_keys=True) + "\n").encode()


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
        manifest = json.loads(content)
        body = {key: value for key, value in manifest.items() if key != "sha256"}
    except OSError as error:
        raise RunError(f"{path}: damaged: {error.strerror}") from error
    except (ValueError, AttributeError) as error:
        raise RunError(f"{path}: damaged: {error}") from error
    if _render(body) != content:
        raise RunError(f"{path}: damaged: its content has changed")
    return body


def _verify_file(path: Path, written: Mapping[str, Any]) -> None:
    try:
        size = path.stat().st_size
        if size != written["bytes"]:
            raise RunError(f"{path}: damaged: {size} bytes, but {written['bytes']} were written")
        if sha256(path) != written["sha256"]:
            raise RunError(f"{path}: damaged: its SHA-256 has changed")
    except OSError as error:
        raise RunError(f"{path}: damaged: {error.strerror}") from error
