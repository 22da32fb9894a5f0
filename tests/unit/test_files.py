"""A file is the old one or the new one, whatever happens while it is written."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from polytask.core.files import atomic_writer, read_json, sha256, sync, write_json, write_text

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
KILLED = """
import os, signal, sys
from pathlib import Path
from polytask.core.files import atomic_writer
with atomic_writer(Path(sys.argv[1])) as file:
    file.write("half of")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_file_is_there_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.txt"
    with atomic_writer(path) as file:
        file.write("first\n")
        assert not path.exists()
        file.write("second\n")
    assert path.read_bytes() == b"first\nsecond\n"
    assert [each.name for each in path.parent.iterdir()] == ["file.txt"]


def test_a_link_stays_and_leads_to_the_new_content(tmp_path: Path) -> None:
    target, link = tmp_path / "target.txt", tmp_path / "link.txt"
    target.write_text("old")
    link.symlink_to(target)
    write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"


@pytest.mark.skipif(sys.platform == "win32", reason="pipes with a name")
def test_what_is_no_file_is_written_to_and_stays(tmp_path: Path) -> None:
    """As a device, such as /dev/null, which must not become a file."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_text(pipe, "content")
    assert os.read(reader, 100) == b"content"
    assert pipe.is_fifo()
    assert [each.name for each in tmp_path.iterdir()] == ["pipe"]
    os.close(reader)


def test_a_folder_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), atomic_writer(tmp_path):
        pytest.fail("the folder was opened")
    assert not [*tmp_path.iterdir()]


def fail_while_writing(path: Path, error: type[BaseException]) -> None:
    with atomic_writer(path) as file:
        file.write("half of")
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("old", ["old", None])
def test_an_exception_leaves_what_was_there(
    error: type[BaseException], old: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "file.txt"
    if old is not None:
        write_text(path, old)
    with pytest.raises(error):
        fail_while_writing(path, error)
    found = {each.name: each.read_text("utf-8") for each in tmp_path.iterdir()}
    assert found == ({} if old is None else {"file.txt": old})


def test_a_file_that_cannot_be_moved_into_place_leaves_no_other(tmp_path: Path) -> None:
    (tmp_path / "file.txt").mkdir()
    with pytest.raises(OSError, match=r"file\.txt"):
        write_text(tmp_path / "file.txt", "text")
    assert [each.name for each in tmp_path.iterdir()] == ["file.txt"]


def test_a_killed_process_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")
    ended = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert path.read_text("utf-8") == "old"


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(OSError, match=os.strerror(28)), atomic_writer(path):
        raise OSError(28, os.strerror(28))
    assert path.read_text("utf-8") == "old"


def test_text_is_utf_8_with_plain_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "file.txt", "质量很好\nö\n")
    assert (tmp_path / "file.txt").read_bytes() == "质量很好\nö\n".encode()


@given(value=JSON)
def test_json_comes_back(value: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)
    assert read_json(path) == value


def test_json_is_for_people_too(tmp_path: Path) -> None:
    write_json(tmp_path / "value.json", {"名": [1]})
    text = (tmp_path / "value.json").read_text("utf-8")
    assert "名" in text
    assert text.endswith("}\n")
    assert text.count("\n") > 2


def test_json_that_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    write_json(tmp_path / "value.json", {"a": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "value.json", {"a": object()})
    assert json.loads((tmp_path / "value.json").read_text("utf-8")) == {"a": 1}


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 3_000_000])
def test_sha256_is_that_of_all_bytes(size: int, tmp_path: Path) -> None:
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    assert sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_files_and_folders_can_be_synced(tmp_path: Path) -> None:
    write_text(tmp_path / "file.txt", "text")
    sync(tmp_path / "file.txt")
    sync(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync(tmp_path / "nothing")


def test_others_may_read_what_the_umask_allows(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_text(tmp_path / "file.txt", "text")
    finally:
        os.umask(before)
    assert (tmp_path / "file.txt").stat().st_mode & 0o777 == 0o644
