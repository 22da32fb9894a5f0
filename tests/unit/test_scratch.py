"""Scratch folders go with their process, or when the next one starts."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from polytask.core.scratch import remove_abandoned, scratch_folder

WORKER = """
import os, signal, sys, tempfile
from polytask.core.scratch import scratch_folder
tempfile.tempdir = sys.argv[1]
with scratch_folder() as folder:
    (folder / "rows.arrow").write_text("rows")
    print(folder, flush=True)
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_is_there_while_it_is_used(place: Path) -> None:
    with scratch_folder() as first, scratch_folder() as second:
        assert first != second
        (first / "deep").mkdir()
        (first / "deep" / "rows").touch()
    assert list(place.iterdir()) == []


def test_what_a_killed_process_has_left_is_removed_by_the_next_one(place: Path) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(place)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert worker.stdout is not None
    left = Path(worker.stdout.readline().strip())
    with scratch_folder():
        assert (left / "rows.arrow").is_file()  # in use
    worker.communicate()
    assert worker.returncode == -signal.SIGKILL
    assert (left / "rows.arrow").is_file()
    with scratch_folder() as own:
        assert list(place.iterdir()) == [own]


def test_folders_that_were_never_locked_are_left_alone(place: Path) -> None:
    (place / "polytask-notes").mkdir()
    (place / "polytask-new").mkdir()
    (place / "polytask-new" / "polytask.lock").touch()  # its process is about to lock it
    (place / "other").mkdir()
    (place / "other" / "polytask.lock").write_text("1")
    remove_abandoned(place)
    assert {path.name for path in place.iterdir()} == {"polytask-notes", "polytask-new", "other"}


def test_folders_of_other_users_are_left_alone(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = place / "polytask-left"
    left.mkdir()
    (left / "polytask.lock").write_text("1")
    user = left.stat().st_uid
    monkeypatch.setattr("os.getuid", lambda: user + 1)
    remove_abandoned(place)
    assert left.is_dir()
    monkeypatch.undo()
    remove_abandoned(place)
    assert not left.exists()
