"""Values that no parameter may have: NaN, infinity, numbers beyond 64 bits, invalid text."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from rep_kedro.checks.configuration import Loader, find_origin
from rep_kedro.errors import UserError

_MAX_INTEGER = 2**63 - 1
Keys = tuple[str | int, ...]


def require_plain_values(parameters: Mapping[str, Any], loader: Loader) -> None:
    """Refuse values that no parameter can have, wherever they are.

    Raises:
        UserError: If there are any; a line for each, with the file.
    """
    lines = []
    for keys, why in _find_odd(parameters, ()):
        origin = find_origin(loader, keys)
        lines.append(f"parameter {'.'.join(map(str, keys))}{f' in {origin}' if origin else ''}: {why}")
    if lines:
        raise UserError("\n".join(lines))


def _find_odd(value: Any, keys: Keys) -> Iterator[tuple[Keys, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _find_odd(inner, (*keys, key))
    elif isinstance(value, list | tuple):
        for place, inner in enumerate(value):
            yield from _find_odd(inner, (*keys, place))
    elif isinstance(value, str):
        if "\0" in value or any(0xD800 <= ord(letter) <= 0xDFFF for letter in value):
            yield keys, f"{value!a} has characters that are not valid Unicode text"
    elif isinstance(value, int):
        if abs(value) > _MAX_INTEGER:
            yield keys, f"should be at most {_MAX_INTEGER}, got a number of {value.bit_length()} bits"
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield keys, f"should be a finite number, got {value}"
    elif value is not None:
        yield keys, f"should be text, a number, true, false or null, got {type(value).__name__}"
