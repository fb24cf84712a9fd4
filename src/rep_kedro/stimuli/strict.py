"""Parameter models that refuse unknown keys and say which known one was probably meant."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from rep_kedro.errors import UserError, suggest

SHOWN_NAMES = 5  # so many are named in a message; the count says how many more there are


def shorten(names: Sequence[str]) -> str:
    """Return some names, and how many more there are.

    Example:
        >>> shorten(["a", "b", "c", "d", "e", "f", "g"])
        'a, b, c, d, e and 2 more'
    """
    more = len(names) - SHOWN_NAMES
    return ", ".join(names[:SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


class StrictModel(BaseModel):
    """Frozen parameters; an unknown key is an error with a close match."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, values: Any) -> Any:
        if isinstance(values, Mapping):
            for key in values:
                if key not in cls.model_fields:
                    raise UserError(f"unknown key {key!r}; {suggest(str(key), cls.model_fields)}")
        return values
