"""Mistakes in a recipe, and their places."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Keys: TypeAlias = tuple[str | int, ...]
"""The path of a value: keys of mappings and positions in lists."""


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong.

    :param keys: The path of the wrong value.
    :param text: The finding, the expectation and the remedy.
    """

    keys: Keys
    text: str

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.keys))}: {self.text}" if self.keys else self.text


def holds(value: Any, key: str | int) -> bool:
    """Return whether a mapping has a key, or a list a position."""
    if isinstance(value, list):
        return isinstance(key, int) and key < len(value)
    return isinstance(value, Mapping) and key in value


def closest(name: object, known: Iterable[str]) -> str | None:
    """Return the known name that is most similar to another, or None."""
    return next(iter(difflib.get_close_matches(str(name), list(known), n=1)), None)


def hint(name: object, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` if one of the known names is close, else an empty text."""
    near = closest(name, known)
    return f" Did you mean {near!r}?" if near else ""


def list_known(known: Iterable[str]) -> str:
    """Return `` Known: x, y.``, or an empty text without names."""
    names = ", ".join(known)
    return f" Known: {names}." if names else ""


def unknown(what: str, name: object, known: Sequence[str]) -> str:
    """Return the message for an unknown name."""
    return f"no {what} called {name!r}.{hint(name, known) or list_known(known)}"
