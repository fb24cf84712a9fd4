"""What all stimulus sources share: parameters, roots on disk, and what a recipe holds of them."""

import os
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, NonNegativeInt, model_validator

from rep_kedro.errors import MissingFileError, UserError
from rep_kedro.stimuli.labels import AnyLabelMap
from rep_kedro.stimuli.strict import StrictModel

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "test": "test",
    "val": "val",
    "valid": "val",
    "validation": "val",
}
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")


def _expand(path: Any) -> Any:
    """Replace environment variables and the home folder's sign."""
    if not isinstance(path, str | Path):
        return path
    expanded = os.path.expandvars(str(path))
    unset = _VARIABLE.search(expanded)
    if unset:
        raise UserError(f"path {str(path)!r} names the environment variable {unset[1]}, which is not set")
    return Path(expanded).expanduser()


def _as_list(paths: Any) -> Any:
    return list(paths) if isinstance(paths, list | tuple) else [paths]


SourcePath = Annotated[Path, BeforeValidator(_expand)]
SourcePaths = Annotated[list[SourcePath], BeforeValidator(_as_list), Field(min_length=1)]


def _require_plain_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UserError(f"name {name!r} must consist of letters, digits, '.', '_' and '-'")
    return name


PlainName = Annotated[str, AfterValidator(_require_plain_name)]


class SourceSpec(StrictModel):
    """Parameters of one stimulus source; each source is a subclass in ``rep_kedro.stimuli.readers``.

    Attributes:
        source: Name of the source; also of its module.
        on_damaged: ``error`` names all damaged items and makes no set; ``skip`` leaves them out and records
            their names and reasons in the set's meta.
        title: Name of the set for people.
        group: Kind of images, by which sets may be grouped.
        expected: Stimuli by split, and number of ``classes``; a set that differs is refused.
    """

    source: str
    on_damaged: Literal["error", "skip"] = "error"
    title: str | None = None
    group: str | None = None
    expected: dict[PlainName, NonNegativeInt] | None = None

    path_fields: ClassVar[frozenset[str]] = frozenset()
    told_fields: ClassVar[frozenset[str]] = frozenset({"title", "group", "expected"})

    def recipe(self) -> dict[str, Any]:
        """Return the parameters that the set's bytes depend on, without places, as plain JSON data."""
        return self.model_dump(mode="json", exclude=set(self.path_fields | self.told_fields))

    def roots(self) -> dict[str, list[Path]]:
        """Return the files and folders that the source reads, by split ('' if not known beforehand)."""
        return {}


class FileSourceSpec(SourceSpec):
    """Parameters of a source that reads files.

    Attributes:
        path: One file or folder; environment variables (``$REP_DATA/...``) and ``~`` are replaced.
        splits: Instead of ``path``: files or folders by split.
        split: Name of the only split, where the source has no splits of its own.
        test_fraction: Share of each class that becomes the split ``test``; 0 leaves the splits as they are.
        seed: Decides which stimuli those are.
        class_names: Names by label; overrides what the source says.
        label_map: Other classes made of the source's labels: the name of a shipped map (such as
            ``living17``), a YAML file, or ``{classes: {name: [labels]}}``.
    """

    path: SourcePath | None = None
    splits: dict[PlainName, SourcePaths] | None = None
    split: PlainName = "train"
    test_fraction: float = Field(default=0.0, ge=0, lt=1)
    seed: int = 0
    class_names: list[str] | None = None
    label_map: AnyLabelMap | None = None

    path_fields: ClassVar[frozenset[str]] = frozenset({"path", "splits"})

    @model_validator(mode="after")
    def _require_one_place(self) -> "FileSourceSpec":
        if (self.path is None) == (self.splits is None):
            raise UserError(f"source {self.source!r} needs either path or splits, not both")
        if self.splits is not None and self.test_fraction:
            raise UserError("test_fraction makes a test split, so it goes with path only, not with splits")
        return self

    def recipe(self) -> dict[str, Any]:
        """Return the parameters that the set's bytes depend on, without places, as plain JSON data."""
        kept = super().recipe()
        if self.splits is not None:
            kept["splits"] = list(self.splits)
        return kept

    def roots(self) -> dict[str, list[Path]]:
        """Return the files and folders that the source reads, by split ('' for ``path``)."""
        if self.splits is not None:
            return {split: list(paths) for split, paths in self.splits.items()}
        assert self.path is not None  # noqa: S101  _require_one_place
        return {"": [self.path]}


def require_path(path: Path) -> Path:
    """Return the path if something is there.

    Raises:
        FileNotFoundError: If there is neither a file nor a folder.
    """
    if not path.exists():
        known = next((parent for parent in path.parents if parent.exists()), None)
        raise MissingFileError(f"no file or folder at {path}; the part that exists is {known}")
    return path


def split_of(name: str) -> str | None:
    """Return the split that a file's relative path names, by a folder or by how the file's name begins."""
    word = re.match(r"[a-z]+", name.rpartition("/")[2].lower()) or re.match("", "")
    candidates = [*name.lower().split("/")[:-1], word[0] if word else ""]
    return next((SPLIT_NAMES[candidate] for candidate in candidates if candidate in SPLIT_NAMES), None)
