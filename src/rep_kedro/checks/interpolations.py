"""The size to which interpolations such as ``${features.layer}`` expand, computed before any is resolved."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rep_kedro.errors import UserError

MAX_CHARS = 1_000_000
_REFERENCE = re.compile(r"\$\{\s*([\w.\[\]-]+)\s*\}")
_COMPUTED = re.compile(r"\$\{[^}:]*\$\{")


def require_bounded_interpolations(content: Mapping[Any, Any]) -> None:
    """Refuse references that unfold to very much text, or whose target is itself computed.

    Args:
        content: A configuration, nothing resolved.

    Raises:
        UserError: If so; the message has the key. References in a circle are left to whoever resolves them.
    """
    sizes: dict[str, int] = {}
    for key in content:
        if _size_of(content, (key,), sizes) > MAX_CHARS:
            raise UserError(f"configuration, key {key}: expands to more than {MAX_CHARS:,} characters")


def _size_of(content: Any, path: tuple[Any, ...], sizes: dict[str, int]) -> int:
    """Return how many characters the value at a path unfolds to; 0 where there is none, or in a circle."""
    name = ".".join(map(str, path))
    if name not in sizes:
        sizes[name] = 0
        sizes[name] = min(_unfold(content, path, sizes), 2 * MAX_CHARS)
    return sizes[name]


def _unfold(content: Any, path: tuple[Any, ...], sizes: dict[str, int]) -> int:
    value = _look_up(content, path)
    if isinstance(value, Mapping):
        return len(value) + sum(_size_of(content, (*path, key), sizes) for key in value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return len(value) + sum(_size_of(content, (*path, place), sizes) for place in range(len(value)))
    if not isinstance(value, str):
        return 1
    if _COMPUTED.search(value):
        raise UserError(
            f"configuration, key {'.'.join(map(str, path))}: a reference within a reference: {value}"
        )
    return len(value) + sum(
        _size_of(content, _target(path, found), sizes) for found in _REFERENCE.findall(value)
    )


def _target(path: tuple[Any, ...], reference: str) -> tuple[Any, ...]:
    """Return the path that a reference means; leading dots count from its own place."""
    names = reference.lstrip(".")
    n_up = len(reference) - len(names)
    parts = tuple(re.split(r"[.\[\]]+", names.rstrip("]"))) if names else ()
    return (*path[: len(path) - n_up], *parts) if n_up else parts


def _look_up(content: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        if isinstance(content, Mapping):
            content = content.get(part)
        elif isinstance(content, Sequence) and not isinstance(content, str) and str(part).isdigit():
            content = content[int(part)] if int(part) < len(content) else None
        else:
            return None
    return content
