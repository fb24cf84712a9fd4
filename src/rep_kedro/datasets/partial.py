"""What travels with plans and handles where something is missing: which members, and why."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from rep_kedro.datasets.plan import Json, Planned

WHOLE = "*"
"""The key under which a table, a figure or a whole collection is missing."""

_SHOWN = 5
_NOTHING: Mapping[str, str] = MappingProxyType({})


class Plan(dict[str, Planned]):
    """A plan that also says what it cannot plan. A plain dict is a plan without gaps.

    Attributes:
        left_out: Why, by key of each member that belongs to the plan but cannot be planned, such as a network
            whose file is missing, or features of a network that failed.
        foreseen: By key of a member that is left out, what is known of its recipe, for planners of what
            follows from it.
        partial: By key of a planned member, which of its inputs are missing; it is made without them.
        notes: What a dry run shows of it, one line each, such as memory that members take.
    """

    def __init__(self, planned: Mapping[str, Planned] | None = None) -> None:
        super().__init__(planned or {})
        self.left_out: dict[str, str] = {}
        self.foreseen: dict[str, Mapping[str, Json]] = {}
        self.partial: dict[str, str] = {}
        self.notes: list[str] = []


class Handles(dict[str, Any]):
    """Handles by key, as a collection loads them.

    Attributes:
        missing: Why, by key of each member that should be there and is not. It is empty unless the run keeps
            going: otherwise a collection with gaps refuses to be loaded.
        partial: By key of a member that is there, without which of its inputs it was made.
        planned: By key of a missing member its recipe, as JSON, where this process has planned it.
    """

    def __init__(
        self,
        handles: Mapping[str, Any],
        missing: Mapping[str, str],
        partial: Mapping[str, str],
        planned: Mapping[str, str] = _NOTHING,
    ) -> None:
        super().__init__(handles)
        self.missing = dict(missing)
        self.partial = dict(partial)
        self.planned = dict(planned)


def missing_of(handles: Mapping[str, Any]) -> Mapping[str, str]:
    """Return why members are missing, by key; nothing for handles in a plain dict."""
    return getattr(handles, "missing", _NOTHING)


def foreseen_of(plan: Mapping[str, Planned]) -> Mapping[str, Mapping[str, Json]]:
    """Return what is known of the recipes of members that are left out, by key."""
    return getattr(plan, "foreseen", {})


def planned_recipe(handles: Mapping[str, Any], key: str) -> Mapping[str, Json]:
    """Return the recipe of a missing member, so that a dry run foresees what follows from it.

    Returns:
        The recipe, or what a plan foresees of it; empty where this process has not planned the member.
    """
    planned: Mapping[str, str] = getattr(handles, "planned", _NOTHING)
    recipe: Mapping[str, Json] = json.loads(planned.get(key, "{}"))
    return recipe


def nothing_because(why: str) -> Handles:
    """Return the placeholder of a table, a figure or a collection that could not be made."""
    return Handles({}, {WHOLE: why}, {})


def is_lost(value: object) -> bool:
    """Return whether a node's input is what :func:`nothing_because` returns."""
    return isinstance(value, Handles) and WHOLE in value.missing


def left_out_of(plan: Mapping[str, Planned]) -> Mapping[str, str]:
    """Return why members cannot be planned, by key."""
    return getattr(plan, "left_out", _NOTHING)


def partial_of(plan_or_handles: Mapping[str, Any]) -> Mapping[str, str]:
    """Return which members are made without some of their inputs, by key."""
    return getattr(plan_or_handles, "partial", _NOTHING)


def notes_of(plan: Mapping[str, Planned]) -> list[str]:
    """Return what a dry run shows of a plan."""
    return getattr(plan, "notes", [])


def own_reasons(gaps: Mapping[str, str]) -> list[str]:
    """Return the reasons that are causes of their own, not another member that is missing, each once."""
    return list(dict.fromkeys(why for why in gaps.values() if not why.endswith("missing")))


def list_gaps(head: str, gaps: Mapping[str, str]) -> str:
    """Return a line for each gap below a heading."""
    return "\n".join([f"{head}:", *(f"  {key}: {why}" for key, why in gaps.items())])


def shorten_gaps(gaps: Mapping[str, str]) -> str:
    """Return the first gaps in one line."""
    shown = [f"{key}: {why}" for key, why in list(gaps.items())[:_SHOWN]]
    more = len(gaps) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")
