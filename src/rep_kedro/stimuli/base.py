"""What all stimulus sources share: parameters, roots on disk, and what a recipe holds of them."""

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, NonNegativeInt, model_validator

from rep_kedro.errors import MissingFileError, UserError
from rep_kedro.parameter_model import Parameters
from rep_kedro.parameter_rules import MAX_NAME_CHARS, Seed, expand_path
from rep_kedro.stimuli.labels import AnyLabelMap
from rep_kedro.stimuli.limits import Limits
from rep_kedro.stimuli.wide_values import ValueRange


def _expand(path: Any) -> Any:
    return expand_path(path, f"path {str(path)!r}") if isinstance(path, str | Path) else path


def _as_list(paths: Any) -> Any:
    return list(paths) if isinstance(paths, list | tuple) else [paths]


SourcePath = Annotated[Path, BeforeValidator(_expand)]
SourcePaths = Annotated[list[SourcePath], BeforeValidator(_as_list), Field(min_length=1)]


def _require_plain_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UserError(f"name {name!r} must consist of letters, digits, '.', '_' and '-'")
    if len(name) > MAX_NAME_CHARS:
        raise UserError(
            f"name {name[:40] + '...'!r} has {len(name)} characters; give at most {MAX_NAME_CHARS}"
        )
    return name


PlainName = Annotated[str, AfterValidator(_require_plain_name)]


class SourceSpec(Parameters):
    """Parameters of one stimulus source; each source is a subclass in ``rep_kedro.stimuli.readers``.

    Attributes:
        source: Name of the source; also of its module.
        on_damaged: ``error`` names all damaged items and makes no set; ``skip`` leaves them out and records
            their names and reasons in the set's meta.
        title: Name of the set for people.
        group: Kind of images, by which sets may be grouped.
        expected: Stimuli by split, and number of ``classes``; a set that differs is refused.
        limits: Largest sizes of what the source holds; whatever exceeds them is refused before it is read.
    """

    source: str
    on_damaged: Literal["error", "skip"] = "error"
    title: str | None = None
    group: str | None = None
    expected: dict[PlainName, NonNegativeInt] | None = None
    limits: Limits = Limits()

    path_fields: ClassVar[frozenset[str]] = frozenset()
    told_fields: ClassVar[frozenset[str]] = frozenset({"title", "group", "expected"})

    def recipe(self) -> dict[str, Any]:
        """Return the parameters that the set's bytes depend on, without places, as plain JSON data."""
        return self.model_dump(mode="json", exclude=set(self.path_fields | self.told_fields))

    def roots(self) -> dict[str, list[Path]]:
        """Return the files and folders that the source reads, by split ('' if not known beforehand)."""
        return {}

    def value_range(self) -> ValueRange | None:
        """Return the values that become black and white, where they are stated."""
        return None

    def origin(self) -> "SourceSpec":
        """Return the source that the images come from; another one where a set is made of a set."""
        return self


class FileSourceSpec(SourceSpec):
    """Parameters of a source that reads files.

    Attributes:
        path: One file or folder; environment variables (``$REP_DATA/...``) and ``~`` are replaced.
        splits: With ``path``: names of the folders or files below it by split, with wildcards, or ``none`` if
            no name is that of a split. Without ``path``: places of files or folders by split. Where it is not
            given, names decide (``rep_kedro.stimuli.split_rule``).
        split: Name of the only split, where the source has no splits of its own.
        test_fraction: Share of each class that becomes the split ``test``; 0 leaves the splits as they are.
        seed: Decides which stimuli those are.
        class_names: Names by label; overrides what the source says.
        first_label: The source's number of the first class, 0 or 1.
        label_map: Other classes made of the source's labels: the name of a shipped map (such as
            ``living17``), a YAML file, or ``{classes: {name: [labels]}}``.
        max_value: Value of full brightness in images of 16 bits, such as 4095 where a sensor gives 12; these
            images are stored with 8 bits. None means 65,535, and images are stored as they came.
        value_window: Values of grey that become black and white in images of more than 8 bits, also of whole
            numbers with a sign and of floating-point numbers; what is outside is cut off. These images are
            stored with 8 bits.
    """

    path: SourcePath | None = None
    splits: Literal["none"] | dict[PlainName, SourcePaths] | None = None
    split: PlainName = "train"
    test_fraction: float = Field(default=0.0, ge=0, lt=1)
    seed: Seed = 0
    class_names: list[str] | None = None
    first_label: int | None = None
    label_map: AnyLabelMap | None = None
    max_value: int | None = Field(default=None, ge=1, le=65535)
    value_window: tuple[float, float] | None = None

    path_fields: ClassVar[frozenset[str]] = frozenset({"path", "splits"})

    @model_validator(mode="after")
    def _require_one_place(self) -> "FileSourceSpec":
        if self.path is None and not isinstance(self.splits, dict):
            raise UserError(f"source {self.source!r} needs either path or splits with a place for each split")
        if self.path is not None and isinstance(self.splits, dict):
            for place in (place for places in self.splits.values() for place in places):
                if place.is_absolute():
                    raise UserError(f"with path, splits are named relative to it, received {place}")
        return self

    @model_validator(mode="after")
    def _require_one_range(self) -> "FileSourceSpec":
        if self.value_window is None:
            return self
        if self.max_value is not None:
            raise UserError("max_value and value_window exclude each other; value_window: [0, MAX] cuts off")
        low, high = self.value_window
        if low >= high:
            raise UserError(f"value_window needs a smaller and a larger number, got [{low:g}, {high:g}]")
        return self

    @model_validator(mode="after")
    def _refuse_what_has_no_effect(self) -> "FileSourceSpec":
        if isinstance(self.splits, dict) and "split" in self.model_fields_set:
            raise UserError("split has no effect together with splits; remove one of the two")
        if isinstance(self.splits, dict) and self.test_fraction:
            raise UserError("test_fraction has no effect together with splits; remove one of the two")
        if self.split == "test" and self.test_fraction:
            raise UserError("test_fraction has no effect where all is test; remove split or test_fraction")
        if "seed" in self.model_fields_set and not self.test_fraction:
            raise UserError("seed has no effect without test_fraction; remove it, or set test_fraction")
        return self

    def recipe(self) -> dict[str, Any]:
        """Return the parameters that the set's bytes depend on, without places, as plain JSON data."""
        kept = super().recipe()
        if self.value_window is None:
            del kept["value_window"]
        if self.path is not None and self.splits is not None:
            kept["splits"] = self.model_dump(mode="json", include={"splits"})["splits"]
        elif isinstance(self.splits, dict):
            kept["splits"] = list(self.splits)
        return kept

    def value_range(self) -> ValueRange | None:
        """Return the values that become black and white, where they are stated."""
        if self.value_window is not None:
            return ValueRange(*self.value_window, is_window=True)
        return None if self.max_value is None else ValueRange(0, self.max_value)

    def roots(self) -> dict[str, list[Path]]:
        """Return the files and folders that the source reads, by split ('' for ``path``)."""
        if self.path is not None:
            return {"": [self.path]}
        assert isinstance(self.splits, dict)  # noqa: S101  _require_one_place
        return {split: list(paths) for split, paths in self.splits.items()}


def require_path(path: Path) -> Path:
    """Return the path if something is there.

    Raises:
        FileNotFoundError: If there is neither a file nor a folder.
    """
    if not path.exists():
        known = next((parent for parent in path.parents if parent.exists()), None)
        raise MissingFileError(f"no file or folder at {path}; the part that exists is {known}")
    return path
