"""Messages for pydantic's errors: the value found, the value expected, the remedy."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import ErrorDetails

from polytask.recipe.mistakes import hint, list_known

_EXPECTED = {
    "string_type": "text",
    "path_type": "a path",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "sequence_str": "a list",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "literal_error": "{expected}",
    "greater_than": "a number greater than {gt:g}",
    "greater_than_equal": "a number not less than {ge:g}",
    "less_than": "a number less than {lt:g}",
    "less_than_equal": "a number not greater than {le:g}",
    "string_too_short": "text of {min_length} or more characters",
    "string_too_long": "text of {max_length} or fewer characters",
    "finite_number": "a finite number",
    "too_short": "{min_length} or more entries",
    "too_long": "{max_length} or fewer entries",
    "is_instance_of": "",  # by the class
}
_COLLECTIONS = {"Sequence": "list_type", "Mapping": "mapping_type"}
_QUOTED = re.compile(r"'([^']*)'")
_SHOWN = 60


def describe_errors(
    errors: Sequence[ErrorDetails], options: Mapping[str, Mapping[str, Any]]
) -> str:
    """Return the message for one wrong value.

    :param errors: The errors of the value; several if it may have one of several types.
    :param options: The keys that its mapping may have, with their schemas.
    """
    first = errors[0]
    key = first["loc"][-1] if first["loc"] else ""
    if first["type"] == "missing":
        return _describe_missing(key, options)
    if first["type"] == "extra_forbidden":
        return f"unknown key.{hint(key, options) or list_known(options)}"
    if any(error["type"] not in _EXPECTED for error in errors):
        return _message(next(error for error in errors if error["type"] not in _EXPECTED))
    expected = " or ".join(dict.fromkeys(map(_describe_expected, errors)))
    return f"found {format_value(first['input'])}, expected {expected}.{_advice(first, expected)}"


def _describe_missing(key: int | str, options: Mapping[str, Mapping[str, Any]]) -> str:
    if isinstance(key, int):
        return f"entry {key + 1} is missing."
    about = options.get(key, {}).get("description")
    return f"key {key!r} is missing{f': {about}' if about else '.'}"


def _describe_expected(error: ErrorDetails) -> str:
    if error["type"] == "is_instance_of":
        return _EXPECTED[_COLLECTIONS[error["ctx"]["class"]]]
    return _EXPECTED[error["type"]].format(**error.get("ctx", {}))


def _message(error: ErrorDetails) -> str:
    """Return the message of a validator of polytask, or of pydantic without an entry above."""
    raised = error.get("ctx", {}).get("error")
    message = str(raised) if raised else error["msg"]
    if not message.startswith("Input should "):
        return message
    expected = message.removeprefix("Input should ").removeprefix("be ")
    return f"found {format_value(error['input'])}, expected {expected}."


def _advice(error: ErrorDetails, expected: str) -> str:
    """Return a remedy, if one can be guessed; else an empty text."""
    if isinstance(error["input"], str):
        return hint(error["input"], _QUOTED.findall(expected))
    if "text" in expected and isinstance(error["input"], bool | int | float):
        return " Put it in quotes if it is meant as text."
    return ""


def format_value(value: Any) -> str:
    """Return a short text that names a value."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
