"""What all models of parameters share: true is no number."""

from typing import Any

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


def _refuse_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticCustomError("number_type", "Input should be a number")
    return value


def _guard_numbers(schema: Any) -> Any:
    """Return a schema, or a part of one, in which every number refuses true and false."""
    if isinstance(schema, list | tuple):
        return type(schema)(map(_guard_numbers, schema))
    if not isinstance(schema, dict) or schema.get("function") == {
        "type": "no-info",
        "function": _refuse_boolean,
    }:
        return schema
    guarded: Any = {key: part if key == "metadata" else _guard_numbers(part) for key, part in schema.items()}
    if guarded.get("type") in {"int", "float"}:
        return core_schema.no_info_before_validator_function(_refuse_boolean, guarded)
    return guarded


class PlainNumbers:
    """Mixed into a model, lets its numbers be numbers: pydantic would take true for 1 and false for 0."""

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[BaseModel], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Return the schema that pydantic makes, its numbers guarded."""
        schema: CoreSchema = _guard_numbers(handler(source))
        return schema
