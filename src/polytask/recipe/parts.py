"""Fields and sections of a recipe whose options come from a registered part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from polytask.core.registry import Options, Registry


@dataclass(frozen=True)
class Part:
    """Marks a field as the choice of one part: ``Annotated[Options, Part(balancers)]``.

    :param registry: The registry of the part. It is read with each recipe, so that parts registered
        later are known.
    """

    registry: Registry[Any]

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Validate with the registry."""
        return core_schema.no_info_plain_validator_function(
            self.registry.parse,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda options: options.model_dump(mode="json")
            ),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Return the union of one mapping per kind, and the bare names of kinds."""
        choices = [self.describe(kind, handler) for kind in self.registry.kinds()]
        alone = [kind for kind in self.registry.kinds() if not self.list_required(kind)]
        return {"anyOf": [{"enum": alone}, *choices] if alone else choices}

    def list_required(self, kind: str) -> list[str]:
        """Return the required options of a part."""
        fields = self.registry.schema(kind).model_fields.items()
        return [name for name, field in fields if field.is_required() and name != "kind"]

    def describe(self, kind: str, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return a reference to the JSON Schema of one kind."""
        model = self.registry.schema(kind)
        core: Any = {**model.__pydantic_core_schema__, "ref": model.__name__}
        reference = handler(core_schema.union_schema([core]))  # a union refers to its members
        schema = handler.resolve_ref_schema(reference)
        schema["title"], schema["description"] = kind, self.registry.describe(kind)[0]
        schema["properties"]["kind"] = {"const": kind}
        return reference


class RecipeSection(BaseModel):
    """A section of a recipe that mixes the options of a part with other keys.

    Subclasses declare ``part: Annotated[Options, Part(...)]`` and the other keys.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    part: Options

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, value: Any) -> Any:
        """Move every key that the section does not declare into the part."""
        if isinstance(value, str):
            value = {"kind": value}
        if not isinstance(value, Mapping):
            return value
        own = cls.keys()
        options = {key: item for key, item in value.items() if key not in own}
        return {"part": options, **{key: value[key] for key in own if key in value}}

    @model_serializer(mode="wrap")
    def _scatter(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Undo ``_gather``."""
        values: dict[str, Any] = handler(self)
        options = values.pop("part")
        return {"kind": options.pop("kind"), **values, **options}

    @classmethod
    def keys(cls) -> list[str]:
        """Return the keys of the section as written in a recipe, without options of the part."""
        fields = cls.model_fields.items()
        return [field.alias or name for name, field in fields if name != "part"]

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Return one mapping per kind, each with the keys of the section."""
        own = handler.resolve_ref_schema(handler(schema))["properties"]
        choices = own.pop("part")["anyOf"]
        kinds = [handler.resolve_ref_schema(c) for c in choices if "$ref" in c]
        return {"anyOf": [{**kind, "properties": {**kind["properties"], **own}} for kind in kinds]}
