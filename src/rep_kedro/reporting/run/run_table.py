"""The run table: one row per stored result, with what it depends on and what it cost."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from rep_kedro.datasets.member import MemberHandle
from rep_kedro.datasets.platform import PLATFORM, platform_in_words
from rep_kedro.schemas.run import RUN_TABLE

Journal = Mapping[tuple[str, str], Mapping[str, Any]]


def build_run_table(
    collections: Mapping[str, Mapping[str, MemberHandle]], journals: Mapping[str, Journal]
) -> pd.DataFrame:
    """Return one row per member of every collection.

    Args:
        collections: Handles by key, by collection.
        journals: Journal lines by (key, recipe digest), by collection; a member without a line (brought from
            another machine, say) has no time.

    Returns:
        The contract's columns; ``platform`` is missing where a member's bytes do not depend on it; ``seed``
        is a nullable integer, ``seconds`` NaN where unknown.
    """
    rows = [
        _row(collection, key, handles[key], journals.get(collection, {}))
        for collection, handles in collections.items()
        for key in sorted(handles)
    ]
    return RUN_TABLE.frame(rows)


def _row(collection: str, key: str, handle: MemberHandle, journal: Journal) -> dict[str, Any]:
    line = journal.get((key, handle.digest), {})
    versions = line.get("versions") or {}
    return {
        "collection": collection,
        "key": key,
        "seed": find_seed(handle.recipe),
        "seconds": line.get("seconds"),
        "computed_at": line.get("computed_at"),
        "versions": ", ".join(f"{name} {versions[name]}" for name in sorted(versions)) or None,
        "platform": platform_in_words(handle.meta[PLATFORM]) if PLATFORM in handle.meta else None,
        "recipe_digest": handle.digest,
    }


def find_seed(recipe: Any) -> int | None:
    """Return the seed that a recipe names; the outermost one, None where it names none.

    References to inputs hold only keys and digests, so a seed found here is the member's own.

    Example:
        >>> find_seed({"training": {"seed": 3}, "inputs": [{"key": "digits"}]})
        3
    """
    if not isinstance(recipe, Mapping):
        return None
    seed = recipe.get("seed")
    if isinstance(seed, int) and not isinstance(seed, bool):
        return seed
    found = (find_seed(value) for value in recipe.values())
    return next((seed for seed in found if seed is not None), None)
