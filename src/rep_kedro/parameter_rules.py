"""Rules that the parameters of several pipelines share."""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from math import ceil
from operator import index
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from rep_kedro.errors import UserError

MAX_COUNT = 1_000_000
MAX_NAME_CHARS = 200  # of what becomes the name of a file or folder
MAX_SEED = 2**32 - 1  # what NumPy and scikit-learn take
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
"""How many samples, permutations or draws."""
MAX_SIDE_PX = 4096  # of the input of a network: 200 MB for each image
Side = Annotated[int, Field(ge=1, le=MAX_SIDE_PX)]
"""Side of the input of a network, in pixels."""
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]

_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")


def expand_path(path: str | Path, what: str) -> Path:
    """Return a path with its environment variables and the home folder's sign (``~``) replaced.

    Raises:
        UserError: If a variable is not set, or empty: ``$ROOT/photos`` would become ``/photos``; or if a home
            folder is of a user who is unknown.
    """
    for names in _VARIABLE.findall(str(path)):
        name = "".join(names)
        if not os.environ.get(name):
            empty = " (it is empty)" if name in os.environ else ""
            raise UserError(f"{what} names the environment variable {name}, which is not set{empty}")
    expanded = Path(os.path.expandvars(str(path)))
    try:
        return expanded.expanduser()
    except RuntimeError as problem:
        raise UserError(
            f"{what} begins with {expanded.parts[0]}, but no home folder of such a user is known"
        ) from problem


def require_whole(value: object, what: str, *, least: int, most: int | None = None) -> int:
    """Return a number of a notebook as an integer, also of numpy.

    Raises:
        UserError: If it is no integer, or not in the range.

    Example:
        >>> require_whole(3, "batch_size", least=1)
        3
    """
    is_whole = hasattr(value, "__index__") and not isinstance(value, bool)
    number = index(value) if is_whole else None  # type: ignore[arg-type]
    if number is None or number < least or (most is not None and number > most):
        bounds = f"at least {least}" if most is None else f"from {least} to {most}"
        raise UserError(f"{what} must be {'' if is_whole else 'an integer of '}{bounds}, got {value!r}")
    return number


def require_once(names: Sequence[Any], what: str) -> None:
    """Refuse a list that has a name or a number twice.

    Raises:
        ValueError: If one is there twice.
    """
    doubled = sorted(name for name, n in Counter(names).items() if n > 1)
    if doubled:
        raise UserError(f"{what} are listed twice: {doubled}")


def require_percentiles(n_bootstrap: int, confidence: float) -> None:
    """Refuse so few bootstrap samples that the ends of an interval would be beyond all of them.

    Args:
        n_bootstrap: Bootstrap samples; 0: no intervals are wanted.
        confidence: Coverage that the intervals aim at.

    Raises:
        ValueError: If there are some, but not one for each tail of the interval.

    Example:
        >>> require_percentiles(40, 0.95)
        >>> require_percentiles(39, 0.95)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        rep_kedro.errors.UserError: 39 resamples have no interval of 0.95; set n_bootstrap to at least 40...
    """
    least = ceil(2 / (1 - confidence) - 1e-9)  # 2 / (1 - 0.9) is 20 and some rounding
    if 0 < n_bootstrap < least:
        raise UserError(
            f"{n_bootstrap} resamples have no interval of {confidence:g}; "
            f"set n_bootstrap to at least {least}, or to 0 for none"
        )


def without_nulls(entries: Any) -> Any:
    """Return a mapping without its null entries, by which an environment removes what ``conf/base`` has.

    Anything but a mapping is returned as it is.

    Example:
        >>> without_nulls({"digits": None, "mine": {"source": "npz"}})
        {'mine': {'source': 'npz'}}
    """
    if not isinstance(entries, Mapping):
        return entries
    return {name: entry for name, entry in entries.items() if entry is not None}
