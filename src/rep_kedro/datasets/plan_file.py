"""The collection's ``plan.json``: which members are planned, with the digests of their recipes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from kedro.io import DatasetError

from rep_kedro.datasets.atomic import write_bytes_atomically
from rep_kedro.datasets.keys import require_keys
from rep_kedro.datasets.plan import digest_of_text
from rep_kedro.datasets.seal import BLANK_SEAL, DamagedMemberError, require_seal, sealed
from rep_kedro.errors import UserError

_PLAN_FILE = "plan.json"
_FORMAT, _UNSEALED = "plan/2", "plan/1"


class CollectionError(DatasetError, UserError):
    """Members that failed, are missing, or were refused; the message names them."""


class StoredPlan(NamedTuple):
    """What a plan file says.

    Attributes:
        members: Recipe digest of each planned key, in the order of the plan.
        left_out: Why, by key of each member that could not be planned.
        partial: By key of a planned member, which of its inputs were missing.
    """

    members: dict[str, str]
    left_out: dict[str, str]
    partial: dict[str, str]


def write_plan(
    folder: Path,
    name: str,
    recipes: Mapping[str, str],
    left_out: Mapping[str, str],
    partial: Mapping[str, str],
) -> None:
    """Write the plan unless it is there already; gaps are part of the file only if there are any.

    Args:
        folder: The collection's folder.
        name: The collection's name.
        recipes: Canonical JSON text of each recipe, by key in the order of the plan.
        left_out: Why members could not be planned, by key.
        partial: What planned members are made without, by key.

    Raises:
        OSError: If it cannot be written.
    """
    members = {key: digest_of_text(recipe) for key, recipe in recipes.items()}
    content: dict[str, object] = {"format": _FORMAT, "collection": name, "members": members}
    gaps = {"left_out": dict(left_out), "partial": dict(partial)}
    content |= {field: by_key for field, by_key in gaps.items() if by_key}
    content["seal"] = BLANK_SEAL
    text = sealed(json.dumps(content, indent=1, ensure_ascii=False) + "\n", at_end=True)
    path = folder / _PLAN_FILE
    if not path.exists() or path.read_bytes() != text:
        write_bytes_atomically(path, text)


def read_plan(folder: Path, name: str, *, may_be_empty: bool = False) -> StoredPlan:
    """Return what was planned.

    Raises:
        CollectionError: If there is no plan, it was not written by this project, or a byte of it changed.
    """
    path = folder / _PLAN_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise CollectionError(f"{name} has not been made yet: there is no {path}") from None
    except OSError as problem:
        raise CollectionError(f"{path} cannot be read: {problem.strerror or problem}") from problem
    except (ValueError, RecursionError):
        content = None
    version = content.get("format") if isinstance(content, dict) else None
    fields: list[dict[str, str]] = []
    if isinstance(content, dict) and version in (_FORMAT, _UNSEALED):
        fields = [content.get(field, {}) for field in StoredPlan._fields]
    if not fields or not all(map(_is_texts_by_key, fields)) or not (any(fields) or may_be_empty):
        raise CollectionError(
            f"{path} is not a plan written by this project; run the pipeline that makes {name}"
        )
    if version == _FORMAT:
        try:
            require_seal(path, at_end=True)
        except DamagedMemberError as problem:
            raise CollectionError(f"{problem}; run the pipeline that makes {name}") from problem
    found = StoredPlan(*fields)
    require_keys(found.members, name, "")
    return found


def _is_texts_by_key(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())
