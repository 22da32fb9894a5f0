"""Types of the names that users choose: for sources, tasks and recipes."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError
from torch import nn

_NAME = re.compile(r"\w[\w-]*")


def _make_error(text: str) -> PydanticCustomError:
    """Return an error whose text may contain braces, which pydantic would replace."""
    return PydanticCustomError("name", "{m}", {"m": text})


def _check_name(name: str) -> str:
    """Return a name that can be a file name and part of a parameter's name."""
    if not _NAME.fullmatch(name):
        expected = "a name of letters, digits, '_' and '-', because it becomes a file name."
        raise _make_error(f"found {name!r}, expected {expected}")
    return name


def _check_task_name(name: str) -> str:
    """Return a name that ``nn.ModuleDict`` accepts as a key: no method name such as ``type``."""
    if hasattr(nn.ModuleDict(), _check_name(name)):
        raise _make_error(
            f"PyTorch reserves the name {name!r}. Choose another, such as {name}_task."
        )
    return name


def _wrap_in_list(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


def _refuse_empty(texts: tuple[str, ...]) -> tuple[str, ...]:
    if not texts:
        raise PydanticCustomError("empty", "found an empty list, expected one entry or more.")
    return texts


_SCHEMA = WithJsonSchema({"type": "string", "pattern": r"^[\p{L}\p{N}_][\p{L}\p{N}_-]*$"})
Name: TypeAlias = Annotated[str, AfterValidator(_check_name), _SCHEMA]
TaskName: TypeAlias = Annotated[str, AfterValidator(_check_task_name), _SCHEMA]
Texts: TypeAlias = Annotated[
    tuple[str, ...],
    AfterValidator(_refuse_empty),
    BeforeValidator(_wrap_in_list, json_schema_input_type=str | list[str]),
]
"""One text, or a list of them."""
AnyTexts: TypeAlias = Annotated[
    tuple[str, ...], BeforeValidator(_wrap_in_list, json_schema_input_type=str | list[str])
]
"""One text, or a list of them that may be empty."""
