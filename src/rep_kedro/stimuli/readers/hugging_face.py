"""Data sets as Hugging Face keeps them: on the hub, in a folder like one of the hub, or saved to disk.

Parquet or Arrow tables, or WebDataset shards. What the hub has is fetched once, at a commit, and none of its
code is run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import model_validator

from rep_kedro.errors import UserError, suggest
from rep_kedro.stimuli.base import FileSourceSpec, require_path
from rep_kedro.stimuli.hub import fetch_snapshot, require_intact, resolve_commit
from rep_kedro.stimuli.hub_layout import Layout, look_at
from rep_kedro.stimuli.readers import parquet, webdataset
from rep_kedro.stimuli.record import DamagedSourceError, DamageLog, StimulusStream
from rep_kedro.stimuli.split_names import canonical_split, require_one_name_each

DEFAULT_FILES = ("*.parquet", "*.arrow", "*.tar", "*.tar.gz", "*.json", "*.txt", "README.md")


class HuggingFaceSpec(FileSourceSpec):
    """A data set of Hugging Face.

    Attributes:
        repo: Its name on the hub, such as ``ylecun/mnist``; or ``path``: a folder with such files, or what
            ``save_to_disk`` wrote.
        revision: Branch, tag or commit on the hub. The commit that it means enters the recipe; name the
            commit itself to stay with it.
        config: Its part, where a data set has several.
        official_splits: Our name of a split: theirs; where not given, all splits that there are.
        files: Patterns of the files to fetch from the hub, where not all tables and shards are wanted.
        image_column: Column of the images, where these are in tables.
        label_column: Column of the labels; None for a set without labels.
        id_column: Column of stable ids; without one the id is the position within the split.
        label_ending: Ending of the members with the labels, in shards (as of the source ``webdataset``).
    """

    source: Literal["hugging_face"] = "hugging_face"
    repo: str | None = None
    revision: str = "main"
    config: str | None = None
    official_splits: dict[str, str] | None = None
    files: tuple[str, ...] = DEFAULT_FILES
    image_column: str = "image"
    label_column: str | None = "label"
    id_column: str | None = None
    label_ending: str | None = None

    @model_validator(mode="after")
    def _require_one_place(self) -> "HuggingFaceSpec":
        if (self.path is None) == (self.repo is None):
            raise UserError(
                "source 'hugging_face' needs either repo (on the hub) or path (a folder), not both; its"
                " splits are chosen with official_splits"
            )
        if isinstance(self.splits, dict):
            raise UserError("source 'hugging_face' chooses its splits with official_splits, not with splits")
        if self.splits is not None and self.official_splits is not None:
            raise UserError("official_splits has no effect together with splits: none; remove one of the two")
        return self

    def recipe(self) -> dict[str, Any]:
        """Return the parameters that the set's bytes depend on; of a set on the hub, with the commit.

        Raises:
            DamagedSourceError: If the hub cannot say which commit is meant.
        """
        kept = super().recipe()
        del kept["revision"]
        if self.repo is not None:
            kept["commit"] = resolve_commit(self.repo, self.revision)
        return kept

    def roots(self) -> dict[str, list[Path]]:
        """Return the folder; nothing for a set on the hub, which its commit identifies."""
        return {} if self.path is None else super().roots()


def read(spec: HuggingFaceSpec, log: DamageLog) -> StimulusStream:
    """Open the source; ids are those of the sources ``parquet`` and ``webdataset``.

    Raises:
        FileNotFoundError: If the folder is missing.
        DamagedSourceError: If the set is not available or incomplete, or its layout is unknown.
    """
    folder = _folder_of(spec)
    with _unexpected_forms(folder):
        layout = look_at(folder, spec, log, config=spec.config)
        declared = list(layout.class_names(spec.label_column))
    if spec.repo is not None:
        require_intact(sorted(layout.files()))
    splits = _choose_splits(layout, spec, log)
    common = {"class_names": spec.class_names, "limits": spec.limits}
    if layout.kind == "tables":
        columns = {name: getattr(spec, name) for name in ("image_column", "label_column", "id_column")}
        given = {**common, "splits": splits, "label_map": spec.label_map, **columns}
        return parquet.read(parquet.ParquetSpec.model_validate(given), log, declared)
    given = {
        **common,
        "path": layout.folder,
        "splits": {
            split: [file.relative_to(layout.folder) for file in files] for split, files in splits.items()
        },
        "label_ending": spec.label_ending,
    }
    return webdataset.read(webdataset.WebdatasetSpec.model_validate(given), log, declared)


@contextmanager
def _unexpected_forms(folder: Path) -> Iterator[None]:
    """Turn what goes wrong with descriptions that hold other things than they should into one line."""
    try:
        yield
    except UserError:
        raise
    except (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError) as problem:
        raise DamagedSourceError(
            f"the descriptions in {folder} (README.md, *.json) have an unexpected form: {problem!r}"
        ) from problem


def _folder_of(spec: HuggingFaceSpec) -> Path:
    if spec.repo is not None:
        return fetch_snapshot(spec.repo, resolve_commit(spec.repo, spec.revision), spec.files)
    [folder] = spec.roots()[""]
    if not require_path(folder).is_dir():
        raise DamagedSourceError(f"{folder} is a file, the source hugging_face needs a folder")
    return folder


def _choose_splits(layout: Layout, spec: HuggingFaceSpec, log: DamageLog) -> dict[str, list[Path]]:
    """Return the files of each split under our name of it, the training split first."""
    ours = {name: canonical_split(name) or spec.split for name in layout.splits}
    chosen: dict[str, list[Path]] = {}
    if spec.official_splits is None:
        require_one_name_each(ours, str(layout.folder), "official_splits")
        chosen = {ours[name]: files for name, files in layout.splits.items()}
        return dict(sorted(chosen.items(), key=lambda entry: entry[0] != "train"))
    for own, theirs in spec.official_splits.items():
        named = [name for name in ours if name == theirs] or [
            name for name, split in ours.items() if split == canonical_split(theirs)
        ]
        if len(named) != 1:
            raise DamagedSourceError(
                f"the data set has no split {theirs!r}; {suggest(theirs, layout.splits)}"
            )
        chosen[own] = layout.splits[named[0]]
    for name in layout.splits.keys() - {
        name for name, files in layout.splits.items() if files in chosen.values()
    }:
        log.left_out[name] += len(layout.splits[name])
    return chosen
