"""Parameter models that refuse unknown keys and say which known one was probably meant."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from rep_kedro.errors import UserError
from rep_kedro.parameter_model import PlainNumbers

SHOWN_NAMES = 5  # so many are named in a message; the count says how many more there are


def suggest(unknown: str, known: Iterable[str]) -> str:
    """Return the tail of an error message about an unknown name: a close match, and all that is allowed.

    Example:
        >>> suggest("digit", ["digits", "shapes"])
        "did you mean 'digits'? allowed: digits, shapes"
    """
    names = sorted(known)
    close = get_close_matches(str(unknown), names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}allowed: {', '.join(names) or 'nothing'}"


def shorten(names: Sequence[str]) -> str:
    """Return some names, and how many more there are.

    Example:
        >>> shorten(["a", "b", "c", "d", "e", "f", "g"])
        'a, b, c, d, e and 2 more'
    """
    more = len(names) - SHOWN_NAMES
    return ", ".join(names[:SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


class StrictModel(PlainNumbers, BaseModel):
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
