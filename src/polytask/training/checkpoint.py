"""Checkpoints that survive a crash at any moment; a damaged one is never loaded.

Each is a sealed folder ``step-00001234`` with ``state.json`` and ``tensors.safetensors``. Neither
file can run code. ``latest`` names the newest one for people and scripts. Loading ignores it and
takes the newest checkpoint whose bytes match its manifest.
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
    """A loaded state.

    :param step: The step after which it was saved.
    :param state: The saved state, bit for bit, on the CPU.
    :param path: The folder of the checkpoint.
    :param damaged: Messages about newer checkpoints that were skipped as damaged.
    """

    step: int
    state: dict[str, Any]
    path: Path
    damaged: tuple[str, ...] = ()


class Checkpoints:
    """The checkpoints of one training.

    :param folder: The folder that holds them; created by the first save.
    :param keep: Number of verified checkpoints to keep.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder = folder
        self.keep = keep

    def save(self, step: int, state: Mapping[str, Any]) -> Path:
        """Save the components of a state, then delete old and damaged checkpoints.

        :param state: Components by name: nests of dicts, lists, tuples, numbers, text and tensors.
        :raises RunError: If it cannot be written; earlier checkpoints are then unharmed.
        """
        path = self.folder / f"step-{step:08d}"
        content, tensors = flatten(state)
        try:
            with sealed_folder(path, {"step": step}) as folder:
                write_text(folder / "state.json", json.dumps(content, allow_nan=False))
                write_tensors(folder / "tensors.safetensors", tensors)
            # Only after the seal and the rename: a crash before leaves the name of an intact one.
            write_text(self.folder / "latest", path.name + "\n")
        except OSError as error:
            raise RunError(
                f"{path}: the checkpoint could not be saved: {error}. Earlier checkpoints are "
                "unharmed. Make room or choose another disk, then run the command with --resume."
            ) from error
        self._prune(path)  # last: until here the older checkpoints are needed
        return path

    def load(
        self, components: Collection[str] | None = None, *, partial: bool = False
    ) -> Checkpoint | None:
        """Return the newest verified checkpoint, or None if there is none at all.

        :param components: Names of the components to restore; None for any.
        :param partial: Accept a checkpoint that holds other components.
        :raises RunError: If every checkpoint is damaged, or the newest holds other components.
        """
        paths = self._newest_first()
        found, damaged = _first_intact(paths)
        # Another process may save and prune meanwhile, so that all listed folders are gone: list again.
        while found is None and paths != (paths := self._newest_first()):
            found, damaged = _first_intact(paths)
        if found is None and damaged:
            raise RunError(
                "\n".join(damaged) + f"\n{self.folder}: no checkpoint is intact. Restore a "
                "copy of the folder, or delete it to train from the start."
            )
        if found is not None and components is not None and not partial:
            _check_components(found, set(components))
        return found

    def _newest_first(self) -> list[Path]:
        """Return all checkpoints, intact or not; a replaced one comes after its replacement."""
        if not self.folder.is_dir():
            return []
        paths = [
            path for path in self.folder.iterdir() if _NAME.fullmatch(path.name) and path.is_dir()
        ]
        # The suffix of a replaced folder makes its name longer, so it sorts after the plain name.
        return sorted(paths, key=lambda path: (-_step(path), path.name))

    def _prune(self, saved: Path) -> None:
        """Delete all but the checkpoint just saved and the newest verified ones before it."""
        kept = 1
        for path in self._newest_first():
            if path == saved:
                continue
            # Later steps belong to a training that was started again from an earlier checkpoint.
            if kept < self.keep and _step(path) < _step(saved) and _is_intact(path):
                kept += 1
            else:
                _remove(path)


def verify(path: Path) -> None:
    """Compare every byte of one checkpoint with its manifest.

    :raises RunError: If it is damaged or was renamed.
    """
    step = verify_sealed(path).get("step")
    if step != _step(path):
        raise RunError(f"{path}: damaged: it was saved after step {step}, as its manifest says")


def _step(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else -1


def _first_intact(paths: list[Path]) -> tuple[Checkpoint | None, list[str]]:
    """Return the first checkpoint that verifies, and messages about damaged ones before it."""
    damaged: list[str] = []
    for path in paths:
        try:
            state = _read(path)
        except RunError as error:
            # A folder that is gone was pruned by another process while it was read: no damage.
            damaged += [str(error)] if path.exists() else []
            continue
        for message in damaged:
            _LOG.warning("%s; resuming from %s instead", message, path.name)
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
            f"{checkpoint.path}: other components than expected: missing {missing}, not expected "
            f"{unknown}. Run the command with the settings that the training was started with."
        )
