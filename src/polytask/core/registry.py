"""Registries of the parts that a recipe can choose from.

A registered part is an ordinary class; its constructor is its schema. The program passes the
parameters before ``/`` when it builds the part. A recipe may set the parameters after ``*``::

    @balancers.register("cagrad")
    class CAGrad(Balancer):
        def __init__(self, num_tasks: int, /, *, c: float = 0.4) -> None: ...

A constructor that ends in ``**options`` also takes the options of the class it extends.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, create_model
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

T = TypeVar("T")
_URL = re.compile(r"https?://[^\s)>]+")
_PARAM = re.compile(r":param (\w+): (.+?)(?=\n\s*(?::|\n|$)|\Z)", re.DOTALL)


@dataclass(frozen=True)
class ByTask:
    """A mark for options about tasks: ``Annotated[list[float], ByTask("numbers")]``.

    A recipe writes the names of tasks; the part gets their positions.

    :param form: ``numbers``: one per task, also as a mapping from names. ``one``: the position of a
        task, also as its name.
    """

    form: Literal["numbers", "one"]

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Return the schema of the option, with names of tasks allowed as well."""
        by_name: dict[str, JsonSchemaValue] = {
            "numbers": {"type": "object", "additionalProperties": {"type": "number"}},
            "one": {"type": "string"},
        }
        return {"anyOf": [handler(schema), by_name[self.form]]}


class Options(BaseModel):
    """The validated choice of one part: its name and its options."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False
    )
    kind: str


class Registry(Generic[T]):
    """The parts available for one section of a recipe.

    :param section: The recipe section, used in messages.
    :param base: The class every registered part extends.
    """

    def __init__(self, section: str, base: type[T]) -> None:
        self.section = section
        self._base = base
        self._parts: dict[str, type[T]] = {}
        self._schemas: dict[str, type[Options]] = {}  # equal options have equal types

    def register(self, kind: str) -> Callable[[type[T]], type[T]]:
        """Make the decorated class available to recipes as ``kind``.

        :raises ValueError: If the name is taken.
        :raises TypeError: If the class does not extend the base of this registry.
        """

        def add(part: type[T]) -> type[T]:
            if kind in self._parts:
                raise ValueError(f"{self.section}: {kind!r} is already {self._parts[kind]!r}")
            if not issubclass(part, self._base):
                raise TypeError(f"{self.section}: {part!r} does not extend {self._base.__name__}")
            self._parts[kind] = part
            return part

        return add

    def kinds(self) -> list[str]:
        """Return the registered names, sorted."""
        return sorted(self._parts)

    def part(self, kind: str) -> type[T]:
        """Return the class registered as ``kind``."""
        if kind not in self._parts:
            raise KeyError(self.unknown(kind))
        return self._parts[kind]

    def describe(self, kind: str) -> tuple[str, str]:
        """Return one line about a part, and the address of its paper or an empty string."""
        part = self.part(kind)
        documentation = f"{inspect.getdoc(part)}\n{inspect.getdoc(inspect.getmodule(part))}"
        paper = _URL.search(documentation)
        return documentation.split("\n", 1)[0], paper.group().rstrip(".") if paper else ""

    def schema(self, kind: str) -> type[Options]:
        """Return the options of one part, from the keyword-only parameters of its constructor."""
        if kind in self._schemas:
            return self._schemas[kind]
        fields: dict[str, Any] = {}
        for parameter, text in _parameters(self.part(kind)):
            required = parameter.default is inspect.Parameter.empty
            default = ... if required else parameter.default
            fields.setdefault(
                parameter.name, (parameter.annotation, Field(default, description=text))
            )
        schema = create_model(f"{self.section}.{kind}", __base__=Options, **fields)
        return self._schemas.setdefault(kind, schema)

    def parse(self, value: object) -> Options:
        """Validate one recipe section; ``kind`` alone may be written instead of a mapping.

        :raises PydanticCustomError: If there is no part of that name.
        """
        if isinstance(value, str):
            value = {"kind": value}
        if isinstance(value, Options):
            value = value.model_dump()
        kind = value.get("kind") if isinstance(value, dict) else None
        if not isinstance(kind, str) or kind not in self._parts:
            raise PydanticCustomError("unknown_kind", "{m}", {"m": self.unknown(kind)})
        return self.schema(kind).model_validate(value)

    def build(self, options: Options | str | dict[str, Any], /, *runtime: object) -> T:
        """Construct the chosen part from runtime objects and the recipe's options."""
        chosen = self.parse(options)
        values = {name: getattr(chosen, name) for name in type(chosen).model_fields}
        return self.part(values.pop("kind"))(*runtime, **values)

    def unknown(self, kind: object) -> str:
        """Return the message for a name that is not registered."""
        if not isinstance(kind, str):
            return f"no kind of {self.section} is given. Known: {', '.join(self.kinds())}."
        close = difflib.get_close_matches(kind, self._parts, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        return f"no {self.section} called {kind!r}.{hint} Known: {', '.join(self.kinds())}."


def _parameters(part: type) -> Iterator[tuple[inspect.Parameter, str | None]]:
    """Yield the keyword-only parameters of a constructor with their help, inherited ones last."""
    for owner in part.__mro__:
        if "__init__" not in vars(owner):
            continue
        texts = dict(_PARAM.findall(inspect.getdoc(owner) or ""))
        signature = inspect.signature(vars(owner)["__init__"], eval_str=True)
        for parameter in signature.parameters.values():
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                text = texts.get(parameter.name)
                yield parameter, " ".join(text.split()) if text else None
        if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in signature.parameters.values()):
            return


def import_siblings(package: str, path: Iterable[str]) -> None:
    """Import every module of a package, so that a new file registers itself."""
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")
