"""Strict YAML that keeps the line of every value.

PyYAML scans and parses. Plain scalars follow the core schema of YAML 1.2
(https://yaml.org/spec/1.2.2/#103-core-schema), not PyYAML's YAML 1.1:

* ``1e-4``, ``1.e3`` and ``.5`` are numbers;
* only ``true`` and ``false`` are booleans: ``no``, ``yes``, ``on`` and ``off`` are texts;
* ``012`` is the number 12: write ``'012'`` where a text is meant, such as a label;
* dates (``2024-01-31``) and clock times (``12:30``) are texts.

Keys are always texts. Merge keys (``<<: *name``) are understood; keys given twice, tags, deep
nesting and aliases that expand to more than 100,000 values are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from typing_extensions import override

from polytask.core.errors import RecipeError
from polytask.recipe.mistakes import Keys, Mistake

_MAX_DEPTH = 32
_MAX_VALUES = 100_000
_TAG = "tag:yaml.org,2002:"
_SCALARS = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+0123456789."),
    ),
)


@dataclass(frozen=True)
class Document:
    """The content of a YAML text, with the place of each value.

    :param value: Plain data: mappings, lists, texts, numbers, booleans, None.
    :param origins: Where each value was written (``file:line``), in the order of the text.
    :param mistakes: Keys given twice; the rest of the text is read all the same.
    """

    value: Any
    origins: dict[Keys, str]
    mistakes: list[Mistake]


def parse(text: str, name: str) -> Document:
    """Read one YAML document; an empty one is None.

    :param name: The name of the text in messages, usually its path.
    :raises RecipeError: If the text is not YAML of the kind described above.
    """
    reading = _Reading(name)
    try:
        _refuse_tags_and_deep_nesting(text)
        node = yaml.compose(text, _Loader)
        value = None if node is None else reading.value(node, ())
    except yaml.MarkedYAMLError as error:
        raise RecipeError([_syntax_mistake(name, error)]) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        found = f"character U+{error.character:04X} found, readable text expected."
        raise RecipeError([f"{name}:{line}: {found}"]) from None
    return Document(value, reading.origins, list(reading.mistakes.values()))


def read(path: Path) -> Document:
    """Read a YAML file.

    :raises RecipeError: If it is not UTF-8, or not YAML of the kind described above.
    :raises OSError: If it cannot be read.
    """
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{content[error.start]:02x} found, UTF-8 expected"
        raise RecipeError([f"{path}:{line}: {found}. Save the file as UTF-8."]) from None
    return parse(text, str(path))


def dump(value: Any) -> str:
    """Return plain data as YAML that ``parse`` reads back unchanged."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Loader(yaml.SafeLoader):
    """PyYAML's parser with the scalars of YAML 1.2."""


class _Dumper(yaml.SafeDumper):
    """Quotes texts that YAML 1.1 or 1.2 would read as something else; writes no aliases."""

    @override
    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        """Return a text on one line; unprintable characters, such as odd line breaks, are escaped."""
        style = None if text.isprintable() else '"'
        return self.represent_scalar(f"{_TAG}str", text, style)


_Dumper.add_representer(str, _Dumper.represent_text)
# the loader forgets the rules of YAML 1.1; the dumper keeps them, to quote for readers of both
_Loader.yaml_implicit_resolvers = {}
for _kind, _pattern, _first in _SCALARS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_TAG + _kind, re.compile(rf"(?:{_pattern})\Z"), _first)
_Loader.add_implicit_resolver(_TAG + "merge", re.compile(r"<<\Z"), ["<"])


class _Flaw(yaml.MarkedYAMLError):
    """Valid YAML that a recipe may not use."""

    def __init__(self, problem: str, place: Any) -> None:
        super().__init__(problem=problem, problem_mark=place.start_mark)


class _Reading:
    """A reader that turns nodes into plain data and keeps the line of each."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.origins: dict[Keys, str] = {}
        self.mistakes: dict[int, Mistake] = {}  # by key node: an alias shows a node again
        self.count = self.depth = 0

    def value(self, node: yaml.Node, keys: Keys) -> Any:
        """Return one value and everything inside it."""
        # an alias shows its node again: nested aliases grow without bound ("billion laughs")
        self.count += 1
        self.depth += 1
        if self.count > _MAX_VALUES or self.depth > _MAX_DEPTH:
            raise _Flaw("aliases expand to too many values, or contain themselves", node)
        self.origins.setdefault(keys, self.origin(node))
        value: Any
        if isinstance(node, yaml.MappingNode):
            value = self.read_mapping(node, keys)
        elif isinstance(node, yaml.SequenceNode):
            value = [self.value(item, (*keys, index)) for index, item in enumerate(node.value)]
        else:
            value = _scalar(node)
        self.depth -= 1
        return value

    def read_mapping(self, node: yaml.MappingNode, keys: Keys) -> dict[str, Any]:
        """Return a mapping; its direct keys override merged keys."""
        found: dict[str, Any] = {}
        first: dict[str, yaml.Node] = {}
        for key, item in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _Flaw("a list or mapping found as a key, a text expected", key)
            if key.value in first:
                lines = [node.start_mark.line + 1 for node in (first[key.value], key)]
                mistake = Mistake(
                    (*keys, key.value), "given twice, in lines {} and {}.".format(*lines)
                )
                self.mistakes.setdefault(id(key), mistake)
                continue
            first[key.value] = key
            if key.tag != f"{_TAG}merge":
                self.origins.setdefault((*keys, key.value), self.origin(key))
                found[key.value] = self.value(item, (*keys, key.value))
        for merged in _iterate_merged(node):  # of two merged mappings, the first wins
            found = {**self.value(merged, keys), **found}
        return found

    def origin(self, node: yaml.Node) -> str:
        """Return file and line of a node."""
        return f"{self.name}:{node.start_mark.line + 1}"


def _refuse_tags_and_deep_nesting(text: str) -> None:
    """Check the parser's events: ``compose`` recurses, and deep nesting would overflow its stack."""
    depth = 0
    for event in yaml.parse(text, _Loader):
        if (tag := getattr(event, "tag", None)) is not None:
            raise _Flaw(f"tag {tag!r} found; tags are not allowed", event)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth >= _MAX_DEPTH:
            raise _Flaw(f"nested deeper than {_MAX_DEPTH} levels", event)


def _iterate_merged(node: yaml.MappingNode) -> Iterator[yaml.MappingNode]:
    """Yield the mappings that a mapping merges into itself, in order of precedence."""
    for key, value in node.value:
        if key.tag == f"{_TAG}merge":
            for item in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if not isinstance(item, yaml.MappingNode):
                    raise _Flaw("'<<' merges mappings; something else found", item)
                yield item


def _scalar(node: yaml.Node) -> str | int | float | bool | None:
    """Return the value of a scalar by its tag, which the resolvers have set."""
    text: str = node.value
    if node.tag == f"{_TAG}null":
        return None
    if node.tag == f"{_TAG}bool":
        return text.lower() == "true"
    if node.tag == f"{_TAG}int":
        return _whole_number(node)
    if node.tag == f"{_TAG}float":
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def _whole_number(node: yaml.Node) -> int:
    try:  # base 0 reads the prefixes 0o and 0x, but refuses the leading zero of 012
        return int(node.value, 0 if node.value[:2] in ("0o", "0x") else 10)
    except ValueError:  # Python limits the digits of an int, because parsing takes quadratic time
        raise _Flaw("a number of too many digits", node) from None


def _syntax_mistake(name: str, error: yaml.MarkedYAMLError) -> str:
    """Return PyYAML's message on one line, with line and column."""
    mark = error.problem_mark or error.context_mark
    place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
    problem = " ".join(filter(None, (error.context, error.problem)))
    hint = " Indent with spaces, not tabs." if r"'\t'" in problem else ""
    return f"{place}: {'' if isinstance(error, _Flaw) else 'not valid YAML: '}{problem}.{hint}"
