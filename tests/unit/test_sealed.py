"""A sealed folder is there whole or not at all, and shows every change."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from polytask.core.errors import RunError
from polytask.core.sealed import (
    remove_leftovers,
    remove_sealed,
    sealed_folder,
    verify_sealed,
)


def write(path: Path, text: str) -> None:
    with sealed_folder(path, {"text": text}) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "a.txt").write_text(text, encoding="utf-8")
        (folder / "b.txt").write_text("b", encoding="utf-8")


def test_files_and_facts_come_back(tmp_path: Path) -> None:
    write(tmp_path / "x", "one")
    assert verify_sealed(tmp_path / "x") == {"text": "one"}
    assert (tmp_path / "x" / "inner" / "a.txt").read_text(encoding="utf-8") == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_everything_is_on_disk_before_it_is_put_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    write(tmp_path / "x", "one")
    temporary = tmp_path / f".x.{os.getpid()}"
    files = ["inner", "inner/a.txt", "b.txt", "manifest.json"]
    assert set(synced[:-1]) == {str(temporary), *(str(temporary / name) for name in files)}
    assert synced[-2:] == [str(temporary), str(tmp_path)]


def test_a_folder_is_replaced(tmp_path: Path) -> None:
    write(tmp_path / "x", "one")
    write(tmp_path / "x", "two")
    assert verify_sealed(tmp_path / "x") == {"text": "two"}
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_failure_while_filling_leaves_the_old_folder(tmp_path: Path) -> None:
    write(tmp_path / "x", "one")
    with pytest.raises(KeyboardInterrupt), sealed_folder(tmp_path / "x"):
        raise KeyboardInterrupt
    assert verify_sealed(tmp_path / "x") == {"text": "one"}
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sealed") / "x"
    write(folder, "some text")
    return folder


@settings(deadline=None)
@given(st.data())
def test_any_changed_byte_is_noticed(sealed: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(p for p in sealed.rglob("*") if p.is_file())))
    written = path.read_bytes()
    changed = bytearray(written)
    changed[data.draw(st.integers(0, len(written) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(changed)
    with pytest.raises(RunError, match="damaged"):
        verify_sealed(sealed)
    path.write_bytes(written)
    verify_sealed(sealed)


@pytest.mark.parametrize("name", ["manifest.json", "b.txt", "inner/a.txt"])
def test_a_missing_or_truncated_file_is_named(name: str, tmp_path: Path) -> None:
    write(tmp_path / "x", "some text")
    path = tmp_path / "x" / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RunError, match=path.name):
        verify_sealed(tmp_path / "x")
    path.unlink()
    with pytest.raises(RunError, match=path.name):
        verify_sealed(tmp_path / "x")


@pytest.mark.parametrize("content", [b"", b"[]", b"7", b"{}", b"\xff"])
def test_a_manifest_of_another_kind_is_damaged(content: bytes, tmp_path: Path) -> None:
    write(tmp_path / "x", "one")
    (tmp_path / "x" / "manifest.json").write_bytes(content)
    with pytest.raises(RunError, match="damaged"):
        verify_sealed(tmp_path / "x")


def test_a_replacement_that_was_cut_short_is_finished_by_the_next(tmp_path: Path) -> None:
    write(tmp_path / "x", "one")
    (tmp_path / "x").rename(tmp_path / "x.replaced")
    write(tmp_path / "x", "two")
    assert verify_sealed(tmp_path / "x") == {"text": "two"}
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_leftovers_of_dead_processes_go_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = {f".x.{dead.pid}": False, f".x.{os.getpid()}": False, f".x.{os.getppid()}": True,
             ".x.notes": True, "x.1234567": True, f".x.{10**30}": False}  # fmt: skip
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    (tmp_path / f".file.{dead.pid}").touch()
    remove_leftovers(tmp_path)
    found = {path.name for path in tmp_path.iterdir()}
    assert found == {name for name, stays in names.items() if stays} | {f".file.{dead.pid}"}


def test_removing_leaves_nothing(tmp_path: Path) -> None:
    write(tmp_path / "x", "one")
    remove_sealed(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_a_copied_folder_is_still_sealed(tmp_path: Path) -> None:
    write(tmp_path / "x", "one")
    shutil.copytree(tmp_path / "x", tmp_path / "y")
    assert verify_sealed(tmp_path / "y") == {"text": "one"}
