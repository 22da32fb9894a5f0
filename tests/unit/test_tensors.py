"""Tensors come back from a file bit for bit, or not at all."""

import contextlib
import json
import math
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings, strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from polytask.core.errors import RunError
from polytask.core.tensors import read_tensors, write_tensors

DTYPES = [
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.uint8, torch.uint32, torch.bool, torch.complex64,
]  # fmt: skip


def raw(tensor: Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def same(found: Tensor, expected: Tensor) -> bool:
    return (found.dtype, found.shape, raw(found)) == (expected.dtype, expected.shape, raw(expected))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type_and_shape_survives(dtype: torch.dtype, tmp_path: Path) -> None:
    wide = torch.arange(24).reshape(4, 6).to(dtype)
    tensors = {
        "scalar": wide[1, 1],
        "empty": wide[:0],
        "transposed": wide.T,
        "strided": wide[:, ::2],
        "expanded": wide[:1].expand(3, 6),
    }
    write_tensors(tmp_path / "t.safetensors", tensors)
    found = read_tensors(tmp_path / "t.safetensors")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert same(found[name], tensor), name


def test_bits_survive_that_are_no_ordinary_number(tmp_path: Path) -> None:
    odd = torch.tensor([math.nan, math.inf, -math.inf, -0.0, 1e-45])
    payload = torch.tensor([0x7FC00001, -1], dtype=torch.int32).view(torch.float32)
    write_tensors(tmp_path / "t", {"odd": odd, "payload": payload})
    found = read_tensors(tmp_path / "t")
    assert same(found["odd"], odd)
    assert same(found["payload"], payload)


def test_tied_names_stay_tied_and_are_stored_once(tmp_path: Path) -> None:
    table = torch.randn(1000, 10)
    write_tensors(tmp_path / "t", {"table": table, "head": table, "copy": table.clone()})
    found = read_tensors(tmp_path / "t")
    found["head"].zero_()
    assert not found["table"].any()
    assert torch.equal(found["copy"], table)
    assert (tmp_path / "t").stat().st_size < 2.1 * 40_000


def test_views_of_one_storage_that_are_not_the_same_are_kept_apart(tmp_path: Path) -> None:
    base = torch.arange(8.0)
    views = {"all": base, "matrix": base.view(2, 4), "left": base[:5], "right": base[3:]}
    write_tensors(tmp_path / "t", views)
    found = read_tensors(tmp_path / "t")
    for name, view in views.items():
        assert same(found[name], view), name
    found["all"].zero_()
    assert torch.equal(found["left"], torch.arange(5.0))


def test_other_readers_can_read_the_file(tmp_path: Path) -> None:
    weight = torch.randn(3, 4)
    write_tensors(tmp_path / "model.safetensors", {"weight": weight})
    assert torch.equal(load_file(tmp_path / "model.safetensors")["weight"], weight)


def test_equal_tensors_give_equal_files(tmp_path: Path) -> None:
    weight = torch.randn(3, 4)
    tensors = {"weight": weight, "名": weight, "half": torch.ones(2).half(), "a\nb": torch.ones(1)}
    for name in map(str, range(8)):  # as metadata, three keys have six orders
        write_tensors(tmp_path / name, tensors)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
    found = read_tensors(tmp_path / "0")
    assert all(same(found[name], tensor) for name, tensor in tensors.items())
    with safe_open(tmp_path / "0", framework="pt") as file:
        assert file.metadata()["format"] == "pt"


def test_other_padding_of_the_header_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "t"
    write_tensors(path, {"w" * length: torch.ones(1) for length in (1, 2)})
    content = path.read_bytes()
    assert b"} " in content
    path.write_bytes(content.replace(b"} ", b"}\t"))
    with pytest.raises(RunError, match="damaged"):
        read_tensors(path)


def test_what_was_read_does_not_change_with_the_file(tmp_path: Path) -> None:
    write_tensors(tmp_path / "t", {"w": torch.ones(4)})
    found = read_tensors(tmp_path / "t")
    (tmp_path / "t").write_bytes(b"\0" * (tmp_path / "t").stat().st_size)
    assert torch.equal(found["w"], torch.ones(4))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("written") / "t"
    weight = torch.arange(6.0)
    write_tensors(path, {"weight": weight, "head": weight, "bias": torch.ones(3).bfloat16()})
    return path


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_changed_byte_is_noticed(written: Path, data: st.DataObject) -> None:
    content = bytearray(written.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    changed = written.with_name("changed")
    changed.write_bytes(content)
    with pytest.raises(RunError, match="damaged"):
        read_tensors(changed)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_noticed(share: float, tmp_path: Path) -> None:
    path = tmp_path / "t"
    write_tensors(path, {"weight": torch.randn(100)})
    os.truncate(path, int(share * path.stat().st_size))
    with pytest.raises(RunError, match="damaged"):
        read_tensors(path)


def test_a_missing_or_foreign_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no such file"):
        read_tensors(tmp_path / "absent")
    save_file({"w": torch.ones(2)}, tmp_path / "foreign", metadata={"tied": json.dumps({})})
    with pytest.raises(RunError, match="SHA-256"):
        read_tensors(tmp_path / "foreign")


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "t"
    write_tensors(path, {"w": torch.ones(2)})
    with files_limited_to(4096), pytest.raises(OSError, match="t: "):
        write_tensors(path, {"w": torch.ones(10_000)})
    assert torch.equal(read_tensors(path)["w"], torch.ones(2))
    assert [file.name for file in tmp_path.iterdir()] == ["t"]


@contextlib.contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """Writing beyond that size fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
