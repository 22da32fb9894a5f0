"""Temporary folders that are removed even if their process is killed.

Each folder holds a file that its process keeps locked. The system releases the lock when the process
ends. So a folder with a free lock is abandoned, and the next process removes it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_PREFIX = "polytask-"
_LOCK = "polytask.lock"


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Create a folder for the time of a ``with``, and remove folders of dead processes first."""
    remove_abandoned(Path(tempfile.gettempdir()))
    with (
        tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as name,
        (Path(name) / _LOCK).open("wb", buffering=0) as file,
    ):
        with contextlib.suppress(OSError):  # not every file system has locks
            _acquire(file)
            # Only now: an empty file counts as not yet locked, so no process removes the folder.
            file.write(b"1")
        yield Path(name)


def remove_abandoned(place: Path) -> None:
    """Remove the scratch folders of this user whose processes have ended."""
    for path in place.glob(f"{_PREFIX}*/{_LOCK}"):
        with contextlib.suppress(OSError):
            if _is_free(path):
                shutil.rmtree(path.parent, ignore_errors=True)


def _is_free(path: Path) -> bool:
    """Return whether a lock has been released.

    :raises OSError: If the lock is held, or the file is gone.
    """
    found = path.stat()
    if found.st_size == 0 or (sys.platform != "win32" and found.st_uid != os.getuid()):
        return False
    with path.open("r+b") as file:
        _acquire(file)
    return True


def _acquire(file: IO[bytes]) -> None:
    """Lock a file until it is closed.

    :raises OSError: If another process holds the lock.
    """
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
