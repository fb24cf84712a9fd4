"""WebDataset shards, such as in the layout of CLIP_benchmark, read member by member.

Members that share a key (``s0000012.jpg``, ``s0000012.cls``) are one sample and follow one another. Folders
or the names of shards say the split. A folder's ``nshards.txt`` counts its shards; ``classnames.txt`` is in
the folder of the shards or one above. Nothing is ever unpacked to disk.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import model_validator

from rep_kedro.errors import UserError
from rep_kedro.stimuli.base import require_path
from rep_kedro.stimuli.classes import LabelsByName, require_one_list
from rep_kedro.stimuli.decoding import IMAGE_SUFFIXES
from rep_kedro.stimuli.label_table_spec import TableLabelledSpec, is_label_table
from rep_kedro.stimuli.limits import Limits
from rep_kedro.stimuli.record import DamagedSourceError, DamageLog, Stimulus, StimulusStream
from rep_kedro.stimuli.shards import require_all_shards
from rep_kedro.stimuli.split_names import parse_name
from rep_kedro.stimuli.split_rule import split_files
from rep_kedro.stimuli.table_labels import with_table_labels
from rep_kedro.stimuli.tar_members import read_members, tar_stem
from rep_kedro.stimuli.walking import note_unread, walk_files

_COMPANIONS = frozenset({"nshards.txt", "classnames.txt"})


class WebdatasetSpec(TableLabelledSpec):
    """Tar shards.

    Attributes:
        path: A folder of shards, or of folders of shards, or one shard.
        image_ending: Ending of the image members, such as ``jpg``; None takes any known one.
        label_ending: Ending of the members with the label: a whole number or a name of ``class_names``, as
            text or JSON. ``none`` for a set without labels. Where it is not given it is ``cls``, and samples
            that have other members instead are refused.
        label_key: Key of the label, where the member is a JSON mapping.
    """

    source: Literal["webdataset"] = "webdataset"
    image_ending: str | None = None
    label_ending: str | None = None
    label_key: str | None = None

    @model_validator(mode="after")
    def _require_one_place_of_labels(self) -> "WebdatasetSpec":
        if self.labels is not None and (self.label_ending is not None or self.label_key is not None):
            raise UserError("label_ending and label_key have no effect together with labels; remove them")
        return self


class _Shard(NamedTuple):
    split: str
    file: Path
    key: str  # <split>/<folders below the split's>/<name without its ending>


def read(
    spec: WebdatasetSpec, log: DamageLog, declared: Iterable[tuple[str, list[str]]] = ()
) -> StimulusStream:
    """Open the source; ids are ``<split>/<shard>/<key>``.

    Args:
        spec: The source's parameters.
        log: Takes what is damaged or not read.
        declared: (place, class names) that descriptions next to the shards declare.

    Raises:
        FileNotFoundError: If a folder or a shard that ``nshards.txt`` counts is missing.
        DamagedSourceError: If a folder holds no shards, or class names disagree.
        UserError: If names could be those of splits, or not.
    """
    shards = _all_shards(spec, log)
    shards.sort(key=lambda shard: shard.split != "train")
    places = [place for shard in shards for place in (shard.file.parent.parent, shard.file.parent)]
    class_names = spec.class_names or require_one_list([*declared, *_named_classes(places)])
    stream = StimulusStream(class_names, _stimuli(shards, class_names, spec, log))
    return with_table_labels(stream, spec, log)


def find_splits(spec: WebdatasetSpec) -> set[str]:
    """Return the splits of the shards, without reading them.

    Raises:
        DamagedSourceError: If there is no shard.
        UserError: If names could be those of splits, or not.
    """
    return {shard.split for shard in _all_shards(spec, DamageLog())}


def _all_shards(spec: WebdatasetSpec, log: DamageLog) -> list[_Shard]:
    return [
        shard
        for split, roots in spec.roots().items()
        for root in roots
        for shard in _list_shards(split, require_path(root), spec, log)
    ]


def _stimuli(
    shards: list[_Shard], class_names: list[str] | None, spec: WebdatasetSpec, log: DamageLog
) -> Iterator[Stimulus]:
    reader = _SampleReader(class_names, spec, log)
    for shard in shards:
        for key, members in _samples(shard.file, f"{shard.split}/{shard.file.name}", spec.limits, log):
            stimulus = reader.to_stimulus(f"{shard.key}/{key}", members, shard.split)
            if stimulus is not None:
                yield stimulus


class _SampleReader:
    """Finds image and label among the members of samples."""

    def __init__(self, class_names: list[str] | None, spec: WebdatasetSpec, log: DamageLog) -> None:
        self._labels = LabelsByName(class_names)
        self._log = log
        ending = spec.image_ending
        self._images = IMAGE_SUFFIXES if ending is None else {f".{ending.lstrip('.').lower()}"}
        has_table = spec.labels is not None
        self._ending = "none" if has_table else (spec.label_ending or "cls").lstrip(".").lower()
        self._key = spec.label_key
        self._is_sure = has_table or spec.label_ending is not None

    def to_stimulus(self, stimulus_id: str, members: dict[str, bytes], split: str) -> Stimulus | None:
        """Return one sample as a stimulus; None for one that went to the log.

        Raises:
            UserError: If the label could be in a member that the parameters do not name.
        """
        images = [ending for ending in members if f".{ending}" in self._images]
        if len(images) != 1:
            self._log.add(
                stimulus_id, f"{len(images)} images among the members {sorted(members)}, expected one"
            )
            return None
        label, content = None, members.get(self._ending)
        others = sorted(members.keys() - set(images))
        if content is not None:
            self._is_sure = True
            label, problem = self._parse(content)
            if label is None:
                self._log.add(stimulus_id, problem)
                return None
        elif others and not self._is_sure:
            raise UserError(
                f"{stimulus_id} has no member .cls with the label, but .{', .'.join(others)}; say"
                f" `label_ending: {others[0]}`, or `label_ending: none` for a set without labels"
            )
        return Stimulus(stimulus_id, members[images[0]], label, split)

    def _parse(self, content: bytes) -> tuple[int | None, str]:
        """Return the label in a member, or why there is none."""
        text = content.decode("utf-8", "replace").strip()
        if self._key is not None:
            try:
                text = str(json.loads(text)[self._key])
            except (ValueError, TypeError, KeyError, RecursionError):
                return None, f"label {text[:20]!r} is no JSON mapping with the key {self._key!r}"
        text = text.strip('"')
        if re.fullmatch(r"[+-]?[0-9]{1,20}", text):
            return int(text), ""
        if text.startswith("{"):
            return None, f"label {text[:20]!r} is a JSON mapping; set label_key"
        label = self._labels.find(text)
        return (label, "") if isinstance(label, int) else (None, label)


def _samples(
    shard: Path, name: str, limits: Limits, log: DamageLog
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield (key, members by ending) of one shard; members that cannot be used go to the log."""
    key, members = "", dict[str, bytes]()
    for member, content in read_members(shard, name, limits, log):
        stem, _, ending = member.rpartition("/")[2].partition(".")
        folder = member.rpartition("/")[0]
        member_key = f"{folder}/{stem}" if folder else stem
        if member_key != key and members:
            yield key, members
            members = {}
        key = member_key
        if ending.lower() in members:
            log.add(f"{name}:{member}", "occurs twice")
        members[ending.lower()] = content
        n_bytes = sum(map(len, members.values()))
        if n_bytes > limits.record_bytes:
            log.add(f"{name}:{member}", str(limits.too_many_bytes(n_bytes, "its sample")))
            del members[ending.lower()]
    if members:
        yield key, members


def _list_shards(split: str, root: Path, spec: WebdatasetSpec, log: DamageLog) -> list[_Shard]:
    """Return the shards of one place in their order; whatever else is there goes to the log."""
    if root.is_file():
        own = split or split_files([root.name], spec, str(root.parent))[0]
        return [] if own is None else [_Shard(own, root, f"{own}/{tar_stem(root.name) or root.name}")]
    files = dict(walk_files(root, log))
    names = sorted((name for name in files if tar_stem(files[name].name)), key=_in_order)
    around = {place for name in names for place in (files[name].parent, files[name].parent.parent)}
    for name in sorted(files.keys() - set(names)):
        is_companion = files[name].name in _COMPANIONS and files[name].parent in around
        if not is_companion and not is_label_table(files[name], spec):
            note_unread(name, log)
    if not names:
        log.require_none()
        raise DamagedSourceError(f"no shards (*.tar) in {root}")
    names = [name for name in names if _is_counted(name, files, log)]
    for counted in sorted(name for name in files if files[name].name == "nshards.txt"):
        _require_all(files[counted])
    require_all_shards(files[name] for name in names)
    splits = [split] * len(names) if split else split_files(names, spec, str(root))
    shards = []
    for name, own in zip(names, splits, strict=True):
        if own is None:
            log.left_out[name] += 1
        else:
            shards.append(_Shard(own, files[name], f"{own}/{_id_of(name)}"))
    return shards


def _in_order(name: str) -> list[tuple[int, str]]:
    """Return what sorts numbers in names as numbers."""
    return [(int(part) if part.isdigit() else -1, part) for part in re.split(r"(\d+)", name)]


def _id_of(name: str) -> str:
    """Return a shard's path without folders that say a split and without its ending."""
    *folders, file = name.split("/")
    kept = [folder for folder in folders if not ((said := parse_name(folder)) and not said.rest)]
    return "/".join([*kept, tar_stem(file) or file])


def _is_counted(name: str, files: Mapping[str, Path], log: DamageLog) -> bool:
    """Say whether ``nshards.txt`` counts a shard, or there is none; others go to the log."""
    counted = files[name].parent / "nshards.txt"
    number = tar_stem(files[name].name) or ""
    if counted.is_file() and not (number.isdigit() and int(number) < _number_in(counted)):
        log.add(name, f"a shard that {counted.name} does not count")
        return False
    return True


def _require_all(counted: Path) -> None:
    there = {tar_stem(path.name) for path in counted.parent.iterdir()}
    for number in range(_number_in(counted)):
        if str(number) not in there:
            require_path(counted.parent / f"{number}.tar")


def _number_in(counted: Path) -> int:
    text = counted.read_text(encoding="utf-8", errors="replace").strip()
    if not (text.isascii() and text.isdigit() and len(text) < 8):
        raise DamagedSourceError(f"{counted} holds {text[:20]!r}, expected the number of shards")
    return int(text)


def _named_classes(folders: list[Path]) -> Iterator[tuple[str, list[str]]]:
    """Yield (file, class names) for each list in the folders of the shards or one above."""
    for folder in dict.fromkeys(folders):
        place = folder / "classnames.txt"
        if place.is_file():
            yield str(place), _read_names(place)


def _read_names(place: Path) -> list[str]:
    """Return one name for each line; a line's number is the label."""
    try:
        text = place.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as problem:
        raise DamagedSourceError(f"{place} is not UTF-8: {problem}") from problem
    names = [line.strip() for line in text.rstrip().splitlines()]
    if "" in names:
        raise DamagedSourceError(f"line {names.index('') + 1} of {place} is empty, it names no class")
    return names
