"""What a planner node hands to a collection: recipes, and functions that are called only if needed."""

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rep_kedro.errors import UserError

Json = Any
"""Plain JSON data: None, bool, int, finite float, str, list, dict with str keys."""

_DIGEST_CHARS = 32


def canonical_json(value: Json) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, no NaN.

    Raises:
        TypeError: If the value holds something that is not plain JSON data.
        ValueError: If it holds NaN or an infinity.

    Example:
        >>> canonical_json({"b": (1, 2), "a": None})
        '{"a":null,"b":[1,2]}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def strict_json(value: Json, name: str = "") -> str:
    """Return the canonical JSON of a value, or refuse it as :func:`require_plain_json` does."""
    try:
        text = canonical_json(value)
        text.encode()
        is_plain = _has_text_keys(value)
    except (TypeError, ValueError):
        is_plain = False
    if not is_plain:
        require_plain_json(value, name)
    return text


def _has_text_keys(value: Json) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value) and all(map(_has_text_keys, value.values()))
    return not isinstance(value, list | tuple) or all(map(_has_text_keys, value))


def require_plain_json(value: Json, name: str) -> None:
    """Refuse what JSON would lose or change: other types, NaN, keys that are not text, broken Unicode.

    Args:
        value: What is to be written.
        name: How the message calls it, such as ``recipe``.

    Raises:
        TypeError: If a value or a key is of a type that JSON does not have.
        ValueError: If it holds NaN, an infinity or text that is not Unicode.

    Example:
        >>> require_plain_json({"layers": [{"rank": float("nan")}]}, "meta")
        Traceback (most recent call last):
        ValueError: meta.layers[0].rank is nan, which JSON cannot hold; use null and a field with the reason
    """
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{name} is text that is not Unicode: {value!a}") from None
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(
                f"{name} is {value}, which JSON cannot hold; use null and a field with the reason"
            )
    elif isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise TypeError(
                    f"{name or 'it'} has the key {key!r} of type {type(key).__name__}; use text keys"
                )
            require_plain_json(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, list | tuple):
        for position, inner in enumerate(value):
            require_plain_json(inner, f"{name}[{position}]")
    elif not (value is None or isinstance(value, int)):
        raise TypeError(
            f"{name} is of type {type(value).__name__}, which JSON does not have; "
            "use None, bool, int, float, str, list or dict"
        )


def digest_of(recipe: Json) -> str:
    """Return 128 bits of the SHA-256 of a recipe's canonical JSON, as 32 hexadecimal digits."""
    return digest_of_text(canonical_json(recipe))


def digest_of_text(canonical: str) -> str:
    """Return the digest of a recipe whose canonical JSON is at hand."""
    return hashlib.sha256(canonical.encode()).hexdigest()[:_DIGEST_CHARS]


class Batch:
    """Costly work that several members share, done in one call for those still to do.

    Args:
        compute: Called with the keys still to do; yields (key, value) as each is ready. A value that is
            an Exception fails that member only; raising fails all members not yet yielded.
        n_together: How many members are worked on together before the first of them is yielded; that time
            is shared equally among them.
    """

    def __init__(
        self, compute: Callable[[Sequence[str]], Iterator[tuple[str, object]]], *, n_together: int = 1
    ) -> None:
        self.compute = compute
        self.n_together = n_together


@dataclass(frozen=True)
class Planned:
    """One member of a collection, or a single file, as planned.

    Attributes:
        recipe: Plain JSON data that says everything the member's bytes depend on.
        compute: Makes the member's value, or the batch that makes it together with others.
        unit: Members of a batch with the same unit stay together where the batch is split; by itself if None.
    """

    recipe: Mapping[str, Json]
    compute: Callable[[], object] | Batch
    unit: str | None = None

    def value(self) -> object:
        """Compute what is planned, where it shares no work with others.

        Raises:
            TypeError: If a batch makes it together with others.
        """
        if isinstance(self.compute, Batch):
            raise TypeError("a batch makes this together with other members of a collection")
        return self.compute()


_SHARD = re.compile(r"(\d+)/(\d+)", re.ASCII)


@dataclass(frozen=True)
class Shard:
    """One part of a plan that is worked by several processes: part ``index`` of ``count``, from 1."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read ``3/64``.

        Raises:
            ValueError: If the text is not ``<index>/<count>`` with 1 <= index <= count.

        Example:
            >>> Shard.parse("3/64")
            Shard(index=3, count=64)
        """
        found = _SHARD.fullmatch(text)
        index, count = (int(part) for part in found.groups()) if found else (0, 0)
        if not 1 <= index <= count:
            raise UserError(
                f"shard {text!r} is not of the form <index>/<count> with 1 <= index <= count, e.g. 3/64"
            )
        return cls(index, count)

    def select(self, plan: Mapping[str, Planned]) -> list[str]:
        """Return the keys of this shard, dealt out in turn; members of one batch stay together.

        Where there are fewer batches than shards, they are split into their units.
        """
        groups: dict[object, list[str]] = {}
        for key, planned in plan.items():
            shared = planned.compute if isinstance(planned.compute, Batch) else key
            groups.setdefault(shared, []).append(key)
        if len(groups) < self.count:
            groups = {}
            for key, planned in plan.items():
                groups.setdefault((planned.unit is None, planned.unit or key), []).append(key)
        return [key for keys in list(groups.values())[self.index - 1 :: self.count] for key in keys]
