"""The collection's ``plan.json``: which members are planned, with the digests of their recipes."""

import json
from collections.abc import Mapping
from pathlib import Path

from kedro.io import DatasetError

from rep_kedro.datasets.atomic import write_bytes_atomically
from rep_kedro.datasets.keys import require_keys
from rep_kedro.datasets.member import DamagedMemberError
from rep_kedro.datasets.plan import digest_of_text
from rep_kedro.datasets.seal import BLANK_SEAL, require_seal, sealed

_PLAN_FILE = "plan.json"
_FORMAT, _UNSEALED = "plan/2", "plan/1"


class CollectionError(DatasetError):
    """Members that failed, are missing, or were refused; the message names them."""


def write_plan(folder: Path, name: str, recipes: Mapping[str, str]) -> None:
    """Write the plan unless it stands there already.

    Args:
        folder: The collection's folder.
        name: The collection's name.
        recipes: Canonical JSON text of each recipe, by key in the order of the plan.

    Raises:
        OSError: If it cannot be written.
    """
    members = {key: digest_of_text(recipe) for key, recipe in recipes.items()}
    content = {"format": _FORMAT, "collection": name, "members": members, "seal": BLANK_SEAL}
    text = sealed(json.dumps(content, indent=1, ensure_ascii=False) + "\n", at_end=True)
    path = folder / _PLAN_FILE
    if not path.exists() or path.read_bytes() != text:
        write_bytes_atomically(path, text)


def read_plan(folder: Path, name: str, *, may_be_empty: bool = False) -> dict[str, str]:
    """Return the recipe digest of each planned key, in the order of the plan.

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
    members = content["members"] if version in (_FORMAT, _UNSEALED) and "members" in content else None
    if (
        not isinstance(members, dict)
        or not (members or may_be_empty)
        or not all(isinstance(v, str) for v in members.values())
    ):
        raise CollectionError(
            f"{path} is not a plan written by this project; run the pipeline that makes {name}"
        )
    if version == _FORMAT:
        try:
            require_seal(path, at_end=True)
        except DamagedMemberError as problem:
            raise CollectionError(f"{problem}; run the pipeline that makes {name}") from problem
    require_keys(members, name, "")
    return dict(members)
