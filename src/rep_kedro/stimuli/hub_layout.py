"""Which files of a Hugging Face data set hold which split."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rep_kedro.errors import suggest
from rep_kedro.stimuli.base import FileSourceSpec
from rep_kedro.stimuli.classes import names_in_order
from rep_kedro.stimuli.plain_yaml import load_plain_yaml
from rep_kedro.stimuli.record import DamagedSourceError, DamageLog
from rep_kedro.stimuli.shards import require_all_shards
from rep_kedro.stimuli.split_names import OUR_SPLITS, canonical_split
from rep_kedro.stimuli.split_rule import split_files
from rep_kedro.stimuli.tar_members import tar_stem
from rep_kedro.stimuli.walking import note_unread, walk_files

_TABLES = {".parquet", ".arrow"}
_COMPANIONS = {
    "README.md",
    "dataset_dict.json",
    "dataset_info.json",
    "state.json",
    "nshards.txt",
    "classnames.txt",
}


@dataclass(frozen=True)
class Layout:
    """A data set's files.

    Attributes:
        kind: Tables (Parquet or Arrow) or shards (tar).
        splits: Files by the data set's name of the split; '' for files that have none.
        folder: Of all files.
        described: What the set says of itself: by describing file the class names of each column.
    """

    kind: Literal["tables", "shards"]
    splits: dict[str, list[Path]]
    folder: Path
    described: dict[str, dict[str, Any]] = field(default_factory=dict)

    def files(self) -> Iterator[Path]:
        """Yield all files that hold stimuli."""
        for places in self.splits.values():
            yield from places

    def class_names(self, label_column: str | None) -> Iterator[tuple[str, list[str]]]:
        """Yield (describing file, names by label) wherever the set names the classes of a column."""
        for place, columns in self.described.items():
            names = columns.get(label_column or "")
            if names:
                yield place, names_in_order(names, place)


def look_at(folder: Path, spec: FileSourceSpec, log: DamageLog, *, config: str | None = None) -> Layout:
    """Say how a data set is laid out.

    Args:
        folder: Of the data set.
        spec: States the splits, or leaves them to what the set declares or, without that, to names.
        log: Takes the files that are not read.
        config: Its part, where it has several.

    Raises:
        DamagedSourceError: If files are missing, no file can hold stimuli, or there are several parts and
            none is chosen.
        UserError: If names could be those of splits, or not.
    """
    if (folder / "snapshots").is_dir():
        there = ", ".join(sorted(path.name for path in (folder / "snapshots").iterdir()))
        raise DamagedSourceError(
            f"{folder} is a repository of the hub's cache; name one of snapshots/: {there}"
        )
    seen = DamageLog()
    files = dict(walk_files(folder, seen))
    layout = _look_at_files(folder, files, spec, config)
    if layout.kind == "shards":
        return layout  # whose reader looks at the folder itself
    log.damaged += seen.damaged
    log.ignored += seen.ignored
    read = set(layout.files())
    for name, file in files.items():
        if file.suffix in _TABLES and file not in read:
            log.left_out[name] += 1
        elif file not in read and file.name not in _COMPANIONS:
            note_unread(name, log)
    return layout


def _look_at_files(
    folder: Path, files: Mapping[str, Path], spec: FileSourceSpec, config: str | None
) -> Layout:
    if "dataset_dict.json" in files or "state.json" in files:
        return _look_at_saved(folder)
    card = _read_card(folder)
    described = {"README.md": _describe(card, config)}
    declared = _declared_tables(folder, card, config) if spec.splits is None else {}
    if declared:
        return Layout("tables", _whole(declared), folder, described)
    tables = [file for file in files.values() if file.suffix in _TABLES]
    if tables:
        chosen = _of_config(folder, tables, config)
        return Layout("tables", _whole(_by_split(folder, chosen, spec)), folder, described)
    place = folder if config is None else folder / config
    if not place.is_dir():
        raise DamagedSourceError(f"the data set has no config {config!r}: no such folder")
    shards = [file for file in files.values() if tar_stem(file.name) and file.is_relative_to(place)]
    if shards:
        return Layout("shards", _by_split(place, shards, spec), place, described)
    raise DamagedSourceError(
        f"no tables (*.parquet, *.arrow) or shards (*.tar) in {folder}, which holds"
        f" {', '.join(file.name for file in list(files.values())[:5]) or 'nothing'}; for image files there is"
        " the source image_folder"
    )


def _look_at_saved(folder: Path) -> Layout:
    """Look at what ``save_to_disk`` wrote."""
    names = [""]
    if (folder / "dataset_dict.json").is_file():
        names = _read_json(folder / "dataset_dict.json")["splits"]
    described = {}
    for split in names:
        place = Path(split, "dataset_info.json")
        features = _read_json(folder / place).get("features") if (folder / place).is_file() else None
        described[place.as_posix()] = {
            name: column.get("names") for name, column in (features or {}).items() if isinstance(column, dict)
        }
    splits = {split: _saved_tables(folder / split) for split in names}
    return Layout("tables", splits, folder, described)


def _saved_tables(folder: Path) -> list[Path]:
    state = _read_json(folder / "state.json")
    if state.get("_indices_files") or state.get("_indices_data_files"):
        raise DamagedSourceError(
            f"{folder} chooses rows of its tables by an index, which is not read; write the chosen rows"
            " themselves with `dataset.flatten_indices().save_to_disk(FOLDER)`"
        )
    tables = [folder / Path(entry["filename"]).name for entry in state["_data_files"]]
    missing = [table.name for table in tables if not table.is_file()]
    if missing or not tables:
        raise DamagedSourceError(
            f"{folder} lacks {', '.join(missing[:5]) or 'data files'}, which state.json names"
        )
    return tables


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as problem:
        raise DamagedSourceError(f"{file} is missing or damaged: {problem}") from problem


def _read_card(folder: Path) -> dict[str, Any]:
    """Return the YAML at the head of ``README.md``; empty if there is none."""
    file = folder / "README.md"
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    head = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", text, flags=re.DOTALL)
    card = load_plain_yaml(head[1], f"the head of {file}") if head else None
    return card if isinstance(card, dict) else {}


def _describe(card: dict[str, Any], config: str | None) -> dict[str, Any]:
    """Return class names by column, from the card."""
    infos = card.get("dataset_info") or []
    infos = infos if isinstance(infos, list) else [infos]
    chosen = [info for info in infos if config is None or info.get("config_name", config) == config]
    features = (chosen[0].get("features") or []) if chosen else []
    described = {}
    for column in features:
        kind = column.get("dtype")
        if isinstance(kind, dict) and "class_label" in kind:
            described[column["name"]] = kind["class_label"].get("names")
    return described


def _declared_tables(folder: Path, card: dict[str, Any], config: str | None) -> dict[str, list[Path]]:
    """Return the tables by split that the card declares for the chosen part, if it does."""
    configs = [entry for entry in card.get("configs") or [] if "data_files" in entry]
    if not configs:
        return {}
    names = [str(entry.get("config_name")) for entry in configs]
    if config is not None and config not in names:
        raise DamagedSourceError(f"the data set has no config {config!r}; {suggest(config, names)}")
    if config is None and len(configs) > 1 and not any(entry.get("default") for entry in configs):
        raise DamagedSourceError(f"the data set has several parts, choose a config: {', '.join(names)}")
    wanted = [
        entry
        for entry, name in zip(configs, names, strict=True)
        if (name == config if config is not None else len(configs) == 1 or entry.get("default"))
    ]
    splits: dict[str, list[Path]] = {}
    for split, patterns in _patterns_by_split(wanted[0]["data_files"]):
        found = sorted(
            {path for pattern in patterns for path in folder.glob(pattern) if path.suffix in _TABLES}
        )
        if found:
            splits.setdefault(split, []).extend(found)
    return splits


def _patterns_by_split(declared: Any) -> Iterator[tuple[str, list[str]]]:
    if isinstance(declared, dict):
        declared = [{"split": split, "path": path} for split, path in declared.items()]
    entries = declared if isinstance(declared, list) else [declared]
    for entry in entries:
        split, path = (entry["split"], entry["path"]) if isinstance(entry, dict) else ("train", entry)
        yield str(split), [str(pattern) for pattern in (path if isinstance(path, list) else [path])]


def _of_config(folder: Path, tables: list[Path], config: str | None) -> list[Path]:
    """Return the tables of one part; parts are folders whose names are not those of splits."""
    parts: dict[str, list[Path]] = {}
    for table in tables:
        folders = table.relative_to(folder).parts[:-1]
        named = [name for name in folders if name != "data" and canonical_split(name) not in OUR_SPLITS]
        parts.setdefault(named[0] if named else "", []).append(table)
    if config is not None:
        if config not in parts:
            raise DamagedSourceError(
                f"the data set has no config {config!r}; {suggest(config, filter(None, parts))}"
            )
        return parts[config]
    if len(parts) > 1:
        names = ", ".join(repr(name) for name in sorted(parts) if name)
        raise DamagedSourceError(f"the data set has several parts, choose a config: {names}")
    return tables


def _by_split(folder: Path, files: list[Path], spec: FileSourceSpec) -> dict[str, list[Path]]:
    names = [file.relative_to(folder).as_posix() for file in files]
    splits: dict[str, list[Path]] = {}
    for file, split in zip(files, split_files(names, spec, str(folder)), strict=True):
        if split is not None:
            splits.setdefault(split, []).append(file)
    return splits


def _whole(splits: dict[str, list[Path]]) -> dict[str, list[Path]]:
    """Return the tables, if none is missing among those that their names count."""
    require_all_shards(path for tables in splits.values() for path in tables)
    return splits
