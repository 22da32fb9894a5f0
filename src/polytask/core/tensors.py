"""Named tensors in a safetensors file with a checksum.

Any reader of the format can read the file. Its metadata holds what the format lacks: names that are
tied to one tensor, and a SHA-256 of everything. Equal tensors give equal files.
https://github.com/huggingface/safetensors
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from polytask.core.errors import RunError
from polytask.core.files import sync

_SIZE_BYTES = 8
"""Bytes at the start of a file for the size of its header."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors of any device, shape and strides atomically; tied tensors once.

    :raises OSError: If the file cannot be written; ``path`` then stays as it was.
    """
    stored, tied = _separate(tensors)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file(stored, temporary, metadata=_metadata(stored, tied))
        _sort_header(temporary)
        sync(temporary)
        temporary.replace(path)
    except SafetensorError as error:
        raise OSError(f"{path}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read every tensor to the CPU; tied names give one tensor.

    :raises RunError: If the file is missing, damaged, or not from ``write_tensors``.
    """
    try:
        with safe_open(path, framework="pt") as file:
            names, metadata = file.keys(), file.metadata() or {}
            # Copies, as the originals are a view of the file: they would change with it, and
            # their addresses are aligned differently from other tensors, which may change rounding.
            tensors = {name: file.get_tensor(name).clone() for name in names}
        tied: dict[str, str] = json.loads(metadata.get("tied", "{}"))
        padded = _ends_in_spaces(path)
    except FileNotFoundError as error:
        raise RunError(f"{path}: there is no such file") from error
    except (OSError, SafetensorError, ValueError) as error:
        raise RunError(f"{path}: damaged, or not a safetensors file: {error}") from error
    if metadata != _metadata(tensors, tied) or not padded:
        raise RunError(f"{path}: damaged: its content does not have the SHA-256 it was given")
    return tensors | {name: tensors[owner] for name, owner in tied.items()}


def sha256_of(tensors: Mapping[str, Tensor], prefix: str = "") -> str:
    """SHA-256 of names, types, shapes and numbers, in hexadecimal.

    :param prefix: Text that is hashed first.
    """
    digest = hashlib.sha256(prefix.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _separate(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return tensors to store, none overlapping in memory, and tied names with their owners."""
    owners: dict[object, str] = {}
    stored: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    storages: set[int] = set()
    for name, tensor in tensors.items():
        owner = owners.setdefault(_identity(name, tensor), name)
        if owner != name:
            tied[name] = owner
            continue
        flat = tensor.detach().cpu().contiguous()
        storage = flat.untyped_storage().data_ptr()
        stored[name] = flat.clone() if storage in storages else flat
        storages.add(storage)
    return stored, tied


def _sort_header(path: Path) -> None:
    """Sort the header, since the library writes metadata in random order."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(_SIZE_BYTES), "little")
        header = json.loads(file.read(size))
        ordered = json.dumps(header, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        file.seek(_SIZE_BYTES)
        file.write(ordered.encode().ljust(size))


def _ends_in_spaces(path: Path) -> bool:
    """Return whether the header is padded by spaces, as written; readers allow any white space."""
    with path.open("rb") as file:
        header = file.read(int.from_bytes(file.read(_SIZE_BYTES), "little"))
    return header.rstrip(b" ").endswith(b"}")


def _identity(name: str, tensor: Tensor) -> object:
    """Return a key that two tensors share if, and only if, they are the same numbers in memory."""
    if tensor.numel() == 0:
        return name
    return tensor.device, tensor.dtype, tensor.data_ptr(), tensor.shape, tensor.stride()


def _metadata(stored: Mapping[str, Tensor], tied: Mapping[str, str]) -> dict[str, str]:
    digest = sha256_of(stored, json.dumps(tied))
    return {"format": "pt", "tied": json.dumps(tied), "sha256": digest}
