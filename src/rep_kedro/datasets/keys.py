"""Which keys may name members: each its own file within the collection's folder, on every file system."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kedro.io import DatasetError

from rep_kedro.errors import UserError
from rep_kedro.parameter_rules import MAX_NAME_CHARS

_KEY = re.compile(r"[\w][\w.+=@-]*(/[\w][\w.+=@-]*)*", re.ASCII)
_TAKEN = "plan.json"
_MAX_KEY_CHARS = 1000


@dataclass(frozen=True, order=True)
class MemberKey:
    """The key of a member that belongs to a stimulus set: ``<stimulus set>/<name>``.

    Here alone such keys are put together and taken apart.

    Attributes:
        stimulus_set: Name of the stimulus set.
        name: Of the network, measure or subset; of stitched networks the file that they share.

    Example:
        >>> MemberKey.parse("digits/cnn_supervised_s0").name, str(MemberKey("digits", "analysis"))
        ('cnn_supervised_s0', 'digits/analysis')
    """

    stimulus_set: str
    name: str

    def __post_init__(self) -> None:
        for what, part in (("stimulus set", self.stimulus_set), ("name", self.name)):
            if not part or "/" in part:
                raise UserError(f"{what} {part!r} of a member's key must be a name without /; rename it")

    def __iter__(self) -> Iterator[str]:
        """Yield the stimulus set and the name."""
        yield from (self.stimulus_set, self.name)

    def __str__(self) -> str:
        """Return the key as collections have it."""
        return f"{self.stimulus_set}/{self.name}"

    @classmethod
    def parse(cls, key: str) -> "MemberKey":
        """Return the parts of a key.

        Raises:
            ValueError: If it has not two parts.
        """
        parts = key.split("/")
        if len(parts) != 2:
            raise UserError(f"key {key!r} has {len(parts)} parts; expected <stimulus set>/<name>")
        return cls(*parts)


def require_keys(keys: Iterable[object], collection: str, suffix: str) -> None:
    """Refuse keys that are not names, or that would meet in one file.

    Args:
        keys: The planned keys.
        collection: The collection's name, for messages.
        suffix: What the members' files end with, such as ``.parquet``; empty where files do not matter.

    Raises:
        DatasetError: If a key is not a name, too long, differs from another in case only, or is a folder
            on the way to another.
    """
    lowered: dict[str, str] = {}
    for key in keys:
        if not isinstance(key, str) or not _KEY.fullmatch(key) or ".." in key:
            raise DatasetError(
                f"{collection}: key {key!r} is not a name; "
                "use letters, digits and _ . + = @ - with / between parts"
            )
        if len(key) > _MAX_KEY_CHARS or max(map(len, key.split("/"))) > MAX_NAME_CHARS:
            raise DatasetError(
                f"{collection}: key {key[:40] + '...'!r} is too long with {len(key)} characters; "
                f"at most {MAX_NAME_CHARS} between two / and {_MAX_KEY_CHARS} in all"
            )
        other = lowered.setdefault(key.lower(), key)
        if other != key:
            raise DatasetError(f"{collection}: keys {other!r} and {key!r} differ in case only")
    files = {f"{key}{suffix}".lower(): key for key in lowered.values()} if suffix else {}
    for key in lowered.values():
        for folder in PurePosixPath(key.lower()).parents:
            if str(folder) in files:
                other = files[str(folder)]
                raise DatasetError(f"{collection}: key {key!r} needs a folder where {other!r} has its file")
        if key.lower().startswith(f"{_TAKEN}/"):
            raise DatasetError(f"{collection}: key {key!r} needs a folder where {_TAKEN} is")


def require_inside(folder: Path, keys: Iterable[str]) -> None:
    """Refuse keys whose folders are links that lead out of the collection.

    A member's own file may be a link (DVC makes such with ``cache.type symlink``): it is read through the
    link and replaced, never written into.

    Raises:
        DatasetError: If a folder on the way to a member leads elsewhere; the message names it.
    """
    root = folder.resolve()
    for parent in sorted({str(PurePosixPath(key).parent) for key in keys}):
        place = (folder / parent).resolve()
        if not place.is_relative_to(root):
            raise DatasetError(
                f"{folder / parent} is a link that leads out of the collection, to {place}; "
                "replace it by a folder"
            )
