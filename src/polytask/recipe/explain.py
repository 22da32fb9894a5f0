"""Pydantic's errors as mistakes in the recipe: one mistake for each wrong value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from polytask.recipe.json_schema import JsonSchema, get_properties
from polytask.recipe.mistakes import Keys, Mistake, closest, holds
from polytask.recipe.wording import describe_errors

_UNWRITTEN = ("part", "[key]")
"""Steps of a location that are neither in the recipe nor branches of a union."""


@dataclass(frozen=True)
class _Finding:
    """One of pydantic's errors.

    :param keys: The path of the wrong value or of the missing key.
    :param branch: True if the error is about one branch of a union; another branch may fit.
    """

    keys: Keys
    branch: bool
    error: ErrorDetails

    @property
    def kind(self) -> str:
        """Pydantic's name for what is wrong."""
        return self.error["type"]


def explain(error: ValidationError, recipe: Any, schema: JsonSchema) -> Iterator[Mistake]:
    """Yield the mistakes behind pydantic's errors, without wrong references.

    :param recipe: The validated recipe, as plain data.
    :param schema: The JSON Schema of recipes.
    """
    errors = error.errors(include_url=False)
    # ``find_wrong_references`` has reported references already, with more exact places
    findings = [_place(one, recipe) for one in errors if one["type"] != "references"]
    options = {
        finding.keys: get_properties(schema, recipe, finding.keys[:-1]) for finding in findings
    }
    # a required key that is misspelt is both missing and extra: report the extra key only
    meant = {
        (*finding.keys[:-1], closest(finding.keys[-1], options[finding.keys]))
        for finding in findings
        if finding.kind == "extra_forbidden"
    }
    groups: dict[Keys, list[_Finding]] = {}
    for finding in findings:
        misspelt = finding.kind == "missing" and finding.keys in meant
        if not misspelt and not _is_outdone(finding, findings):
            groups.setdefault(finding.keys, []).append(finding)
    for keys, group in groups.items():
        text = describe_errors([finding.error for finding in group], options[keys])
        yield Mistake(keys[:-1] if group[0].kind == "missing" else keys, text)


def _place(error: ErrorDetails, recipe: Any) -> _Finding:
    """Follow the location of an error into the recipe."""
    location, last = error["loc"], error["loc"][:0]
    if error["type"] == "missing":
        location, last = location[:-1], location[-1:]
    keys: list[str | int] = []
    value, branch = recipe, False
    for step in location:
        if holds(value, step):
            keys.append(step)
            value = value[step]
        else:
            branch = branch or step not in _UNWRITTEN
    if error["type"] == "unknown_kind" and holds(value, "kind"):
        last = ("kind",)
    return _Finding((*keys, *last), branch, error)


def _is_outdone(finding: _Finding, others: Sequence[_Finding]) -> bool:
    """Return whether another branch of the union fits better: it is wrong only deeper inside."""
    depth = len(finding.keys)
    return finding.branch and any(
        other.branch and len(other.keys) > depth and other.keys[:depth] == finding.keys
        for other in others
    )
