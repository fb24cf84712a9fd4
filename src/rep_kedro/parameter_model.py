"""The base of all models of parameters: an unknown key is an error, nothing changes, true is not a number."""

from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


def _refuse_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticCustomError("number_type", "Input should be a number")
    return value


def _guard_numbers(schema: Any, source: type[BaseModel]) -> Any:
    """Return the schema of a model, or a part of it, in which every number refuses true and false.

    Schemas of other models in it are guarded already.
    """
    if isinstance(schema, list | tuple):
        return type(schema)(_guard_numbers(part, source) for part in schema)
    if not isinstance(schema, dict) or schema.get("function") == {
        "type": "no-info",
        "function": _refuse_boolean,
    }:
        return schema
    model = schema.get("cls")
    if isinstance(model, type) and model is not source and issubclass(model, Parameters):
        return schema
    guarded: Any = {
        key: part if key == "metadata" else _guard_numbers(part, source) for key, part in schema.items()
    }
    if guarded.get("type") in {"int", "float"}:
        return core_schema.no_info_before_validator_function(_refuse_boolean, guarded)
    return guarded


class Parameters(BaseModel):
    """Frozen parameters; an unknown key is an error, and so are infinite numbers and NaN.

    A number is a number: pydantic would take true for 1 and false for 0.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[BaseModel], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Return the schema that pydantic makes, its numbers guarded."""
        schema: CoreSchema = _guard_numbers(handler(source), source)
        return schema
