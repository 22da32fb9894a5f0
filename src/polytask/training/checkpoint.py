"""Checkpoints that survive a crash at any moment and never load a damaged byte.

Each is a sealed folder ``step-00001234`` with ``state.json`` and ``tensors.safetensors``; neither
is able to run code. ``latest`` names the newest one for people and scripts; loading does not trust
it, but takes the newest checkpoint whose bytes are those that were written.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polytask.core.errors import RunError
from polytask.core.files import read_json, write_text
from polytask.core.sealed import REPLACED, remove_sealed, sealed_folder, verify_sealed
from polytask.core.tensors import read_tensors, write_tensors
from polytask.training.state_tree import flatten, unflatten

_LOG = logging.getLogger("polytask")
_NAME = re.compile(rf"step-(\d{{8,}})({re.escape(REPLACED)})?")


@dataclass(frozen=True)
class Checkpoint:
    """A state that was loaded.

    :param step: The step after which it was saved.
    :param state: What was saved, bit for bit, on the CPU.
    :param path: Where it was.
    :param damaged: What was wrong with the newer ones that were passed over.
    """

    step: int
    state: dict[str, Any]
    path: Path
    damaged: tuple[str, ...] = ()


class Checkpoints:
    """The checkpoints of one training.

    :param folder: Where they are, or will be.
    :param keep: How many verified ones to keep.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder = folder
        self.keep = keep

    def save(self, step: int, state: Mapping[str, Any]) -> Path:
        """Save the components of a state; what is older or damaged goes once this one is safe.

        :param state: Components by name: nests of dicts, lists, tuples, numbers, text and tensors.
        :raises RunError: If it cannot be written; earlier checkpoints are then still there.
        """
        path = self.folder / f"step-{step:08d}"
        content, tensors = flatten(state)
        try:
            with sealed_folder(path, {"step": step}) as folder:
                write_text(folder / "state.json", json.dumps(content, allow_nan=False))
                write_tensors(folder / "tensors.safetensors", tensors)
            write_text(self.folder / "latest", path.name + "\n")
        except OSError as error:
            raise RunError(
                f"{path}: the checkpoint could not be saved: {error}. Earlier checkpoints are "
                "unharmed: make room or choose another disk, then resume."
            ) from error
        self._prune(path)
        return path

    def load(
        self, components: Collection[str] | None = None, *, partial: bool = False
    ) -> Checkpoint | None:
        """The newest verified checkpoint, or None if there are none at all.

        :param components: What the caller will restore; None for whatever was saved.
        :param partial: Accept a checkpoint that holds other components than these.
        :raises RunError: If every checkpoint is damaged, or this one holds other components.
        """
        paths = self._newest_first()
        found, damaged = _first_intact(paths)
        while found is None and paths != (paths := self._newest_first()):  # someone else is saving
            found, damaged = _first_intact(paths)
        if found is None and damaged:
            raise RunError(
                "\n".join(damaged) + f"\n{self.folder}: no checkpoint is intact. Bring back a "
                "copy of the folder, or delete it to train from the start."
            )
        if found is not None and components is not None and not partial:
            _check_components(found, set(components))
        return found

    def _newest_first(self) -> list[Path]:
        """All checkpoints, intact or not; a replaced one counts as older than its replacement."""
        if not self.folder.is_dir():
            return []
        paths = [
            path for path in self.folder.iterdir() if _NAME.fullmatch(path.name) and path.is_dir()
        ]
        return sorted(paths, key=lambda path: (-_step(path), path.name))

    def _prune(self, saved: Path) -> None:
        """Keep the one just saved and the newest verified ones before it."""
        kept = 1
        for path in self._newest_first():
            if path == saved:
                continue
            if kept < self.keep and _step(path) < _step(saved) and _is_intact(path):
                kept += 1
            else:
                _remove(path)


def verify(path: Path) -> None:
    """Check every byte of one checkpoint.

    :raises RunError: If it is damaged or was renamed; says how.
    """
    step = verify_sealed(path).get("step")
    if step != _step(path):
        raise RunError(f"{path}: damaged: it was saved after step {step}, as its manifest says")


def _step(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else -1


def _first_intact(paths: list[Path]) -> tuple[Checkpoint | None, list[str]]:
    """The first one that verifies, and what is wrong with those before it that are still there."""
    damaged: list[str] = []
    for path in paths:
        try:
            state = _read(path)
        except RunError as error:
            damaged += [str(error)] if path.exists() else []
            continue
        for message in damaged:
            _LOG.warning("%s; going back to %s", message, path.name)
        return Checkpoint(_step(path), state, path, tuple(damaged)), damaged
    return None, damaged


def _is_intact(path: Path) -> bool:
    try:
        verify(path)
    except RunError as error:
        _LOG.warning("%s", error)
        return False
    return True


def _remove(path: Path) -> None:
    try:
        remove_sealed(path)
    except OSError as error:
        _LOG.warning("%s: the old checkpoint could not be deleted: %s", path, error)


def _read(path: Path) -> dict[str, Any]:
    verify(path)
    tensors = read_tensors(path / "tensors.safetensors")
    try:
        state: dict[str, Any] = unflatten(read_json(path / "state.json"), tensors)
    except OSError as error:
        raise RunError(f"{path}: damaged: {error}") from error
    return state


def _check_components(checkpoint: Checkpoint, expected: set[str]) -> None:
    saved = set(checkpoint.state)
    missing, unknown = sorted(expected - saved), sorted(saved - expected)
    if missing or unknown:
        raise RunError(
            f"{checkpoint.path}: a partial state: missing {missing}, not expected {unknown}. "
            "Resume with the settings that the training was started with, or allow a partial state."
        )
