"""Conversations as people store them, read as turns of chat templates.

Read are ``messages`` with ``role`` and ``content`` (OpenAI), ``conversations`` with ``from`` and
``value`` (ShareGPT), and columns of texts such as ``instruction``, ``input`` and ``output`` (Alpaca).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import chain, groupby
from typing import Any

from polytask.core.errors import DataError
from polytask.core.prompts import WEIGHT, Turn, turn_text
from polytask.tasks.labels import is_blank

TOOLS, SYSTEM = "tools", "system"
"""The columns with the tools of a conversation, and with the text of its system turn."""

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
}
_FOLLOW = {
    "system": {"user", "assistant"},
    "user": {"assistant"},
    "assistant": {"user", "tool"},
    "tool": {"tool", "assistant"},
}
"""The roles that may follow a role."""


class TurnError(DataError):
    """A turn that is not as expected.

    :param turn: Its number, from 0.
    """

    def __init__(self, turn: int, found: str) -> None:
        super().__init__(f"turn {turn + 1}: {found}")


def read_turns(values: Mapping[str, Any]) -> list[Turn]:
    """Return the turns of a conversation in some columns, in the order of the columns.

    A list of turns is taken as it is, and the column ``system`` as the system turn. All other
    texts are one user turn, separated by blank lines.

    :raises DataError: If a turn is empty, has an unknown role, or does not follow from the one before.
    """
    columns = {name: _parsed(value) for name, value in values.items() if name != TOOLS}
    for name, value in columns.items():
        if not isinstance(value, str | None if name == SYSTEM else str | list | None):
            expected = "a text" if name == SYSTEM else "a list of turns, or a text"
            raise DataError(f"column {name!r}: expected {expected}, found {value!r:.80}")
    system = (columns.pop(SYSTEM, None) or "").strip()
    turns: list[Turn] = [{"role": "system", "content": system}] if system else []
    filled = (value for value in columns.values() if not is_blank(value))
    for kind, group in groupby(filled, key=type):
        if kind is str:
            turns.append({"role": "user", "content": "\n\n".join(group)})
        else:
            turns += [_turn(len(turns) + at, each) for at, each in enumerate(chain(*group))]
    _check_order(turns)
    return turns


def answer_turns(value: Any) -> list[Any]:
    """Return the turns in a column of answers; a text is one turn of the assistant."""
    found = _parsed(value)
    return found if isinstance(found, list) else [{"role": "assistant", "content": str(found)}]


def read_tools(values: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the tools in the column ``tools``, a list of JSON schemas, or its JSON."""
    found = _parsed(values.get(TOOLS))
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(tool, Mapping) for tool in found):
        raise DataError(f"column {TOOLS!r}: expected a list of JSON schemas, found {found!r:.80}")
    return [_without_nulls(tool) for tool in found]


def answer_text(turn: Turn) -> str:
    """Return what an assistant turn says; a turn that only calls tools, as the JSON of its calls."""
    calls = [call["function"] for call in turn.get("tool_calls") or ()]
    return turn_text(turn).strip() or json.dumps(calls, ensure_ascii=False)


def _parsed(value: Any) -> Any:
    """Return a value, or what it is the JSON of."""
    if (isinstance(value, str) and value[:1] in ("[", "{", '"')) or value == "null":
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value  # a text that begins like JSON
    return _without_nulls(value)


def _without_nulls(value: Any) -> Any:
    """Return a value without the keys that a table adds to mappings which lack them."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _turn(at: int, given: Any) -> Turn:
    """Return a turn with the role names of chat templates."""
    if not isinstance(given, Mapping):
        raise TurnError(at, f"expected role and content, found {given!r:.80}")
    named = given.get("role", given.get("from"))
    role = _ROLES.get(named) if isinstance(named, str) else None
    if role is None:
        known = ", ".join(dict.fromkeys(_ROLES))
        raise TurnError(at, f"found the role {named!r}, expected one of {known}")
    kept = given.keys() - {"from", "value"}
    turn = {key: given[key] for key in given if key in kept and given[key] is not None}
    turn |= {"role": role, "content": _content(at, given.get("content", given.get("value")))}
    if named == "function_call":
        turn |= {"content": "", "tool_calls": [{"function": _json(at, turn["content"])}]}
    if calls := turn.get("tool_calls"):
        turn["tool_calls"] = [_call(at, call) for call in calls]
    elif not turn_text(turn).strip():
        raise TurnError(at, f"the {role} turn is empty. Remove it, or its row")
    _check_weight(at, turn.get(WEIGHT, 1))
    return turn


def _content(at: int, content: Any) -> Any:
    if content is None or isinstance(content, str):
        return content or ""
    parts = content if isinstance(content, list) else []
    if not parts or not all(isinstance(part, Mapping) and "text" in part for part in parts):
        raise TurnError(at, f"expected content of text, found {content!r:.80}")
    return content


def _call(at: int, call: Any) -> Mapping[str, Any]:
    function = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise TurnError(at, f"expected a tool call with a name and arguments, found {call!r:.80}")
    arguments = function.get("arguments") or {}
    arguments = _json(at, arguments) if isinstance(arguments, str) else arguments
    return {"type": "function", **call, "function": {**function, "arguments": arguments}}


def _json(at: int, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise TurnError(at, f"expected a tool call as JSON, found {text!r:.80}: {error}") from None


def _check_weight(at: int, weight: Any) -> None:
    if not isinstance(weight, int | float) or not 0 <= weight < float("inf"):
        raise TurnError(at, f"{WEIGHT}: expected a number of 0 or more, found {weight!r}")


def _check_order(turns: Sequence[Turn]) -> None:
    for at, (before, turn) in enumerate(zip([None, *turns], turns, strict=False)):
        role = turn["role"]
        may = {"system", "user", "assistant"} if before is None else _FOLLOW[before["role"]]
        if role == "tool" and before is not None and before["role"] == "assistant":
            may = may if before.get("tool_calls") else {"user"}
        if role not in may:
            after = "at the start" if before is None else f"after {before['role']}"
            raise TurnError(at, f"found {role} {after}, expected {' or '.join(sorted(may))}")
