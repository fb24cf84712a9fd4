"""WebDataset shards in the layout of CLIP_benchmark, read member by member.

A folder for each split holds ``nshards.txt`` and ``0.tar``, ``1.tar``, ...; members that share a key
(``s0000012.jpg``, ``s0000012.cls``) are one sample and stand one after another. ``classnames.txt`` lies
beside the split folders. Nothing is ever unpacked to disk.
"""

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Literal

from rep_kedro.stimuli.archive import BROKEN, CappedStream, open_archive, require_forward
from rep_kedro.stimuli.base import SPLIT_NAMES, FileSourceSpec, require_path
from rep_kedro.stimuli.decoding import IMAGE_SUFFIXES
from rep_kedro.stimuli.limits import Limits, TooLargeError
from rep_kedro.stimuli.record import DamagedSourceError, DamageLog, Stimulus, StimulusStream

_BLOCK_BYTES = 512


class WebdatasetSpec(FileSourceSpec):
    """Tar shards.

    Attributes:
        path: A folder with ``train/`` and ``test/``, or one folder of shards.
        image_ending: Ending of the image members, such as ``jpg``; None takes any known one.
        label_ending: Ending of the members with the label, a whole number as text.
    """

    source: Literal["webdataset"] = "webdataset"
    image_ending: str | None = None
    label_ending: str = "cls"


def read(spec: WebdatasetSpec, log: DamageLog) -> StimulusStream:
    """Open the source; ids are ``<split>/<shard>/<key>``.

    Raises:
        FileNotFoundError: If a folder or a shard that ``nshards.txt`` counts is missing.
        DamagedSourceError: If a folder holds no shards, or class names disagree.
    """
    folders = _split_folders(spec)
    class_names = spec.class_names or _read_class_names([folder for _, folder in folders])
    shards = [(split, shard) for split, folder in folders for shard in _list_shards(folder, split, log)]
    return StimulusStream(class_names, _stimuli(shards, spec, log))


def _stimuli(shards: list[tuple[str, Path]], spec: WebdatasetSpec, log: DamageLog) -> Iterator[Stimulus]:
    for split, shard in shards:
        for key, members in _samples(shard, f"{split}/{shard.name}", spec.limits, log):
            stimulus_id = f"{split}/{shard.name.split('.')[0]}/{key}"
            stimulus = _to_stimulus(stimulus_id, members, split, spec, log)
            if stimulus is not None:
                yield stimulus


def _to_stimulus(
    stimulus_id: str, members: dict[str, bytes], split: str, spec: WebdatasetSpec, log: DamageLog
) -> Stimulus | None:
    wanted = IMAGE_SUFFIXES if spec.image_ending is None else {f".{spec.image_ending.lstrip('.').lower()}"}
    images = [ending for ending in members if f".{ending}" in wanted]
    if len(images) != 1:
        log.add(stimulus_id, f"{len(images)} images among the members {sorted(members)}, expected one")
        return None
    text = members.get(spec.label_ending)
    if text is None:
        return Stimulus(stimulus_id, members[images[0]], None, split)
    try:
        return Stimulus(stimulus_id, members[images[0]], int(text), split)
    except ValueError:
        log.add(stimulus_id, f"label {text[:20]!r} is not a whole number")
        return None


def _samples(
    shard: Path, name: str, limits: Limits, log: DamageLog
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield (key, members by ending) of one shard; members that cannot be used go to the log."""
    key, members = "", dict[str, bytes]()
    for member, content in _members(shard, name, limits, log):
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


def _members(shard: Path, name: str, limits: Limits, log: DamageLog) -> Iterator[tuple[str, bytes]]:
    try:
        with open_archive(shard, limits) as (archive, stream):
            for member in archive:
                content = _read_member(stream, member, name, log)
                if content is not None:
                    yield _tidy(member.name), content
                archive.members = []  # type: ignore[attr-defined]  # the archive would keep every header
            _require_end_mark(archive)
    except BROKEN as problem:
        log.add(name, f"truncated or damaged archive: {problem}")


def _read_member(stream: CappedStream, member: tarfile.TarInfo, name: str, log: DamageLog) -> bytes | None:
    require_forward(member)
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:|.*\\", member.name):
        log.add(f"{name}:{member.name}", "a path that leads out of the archive")
    elif member.isdir():
        pass
    elif not member.isreg():
        log.add(f"{name}:{member.name}", "a link or device, not a file")
    elif member.issparse():
        log.add(f"{name}:{member.name}", "a sparse file, which is not read; store it plain")
    elif path.name.startswith("."):
        log.ignore(f"{name}:{member.name}")
    else:
        try:
            return stream.read_content(member)
        except TooLargeError as problem:
            log.add(f"{name}:{member.name}", str(problem))
    return None


def _require_end_mark(archive: tarfile.TarFile) -> None:
    """Raise if the zeros that end an archive are missing; the library takes any bad header for the end."""
    file = archive.fileobj
    assert file is not None  # noqa: S101  an open archive has one
    file.seek(archive.offset)
    block = file.read(_BLOCK_BYTES)
    if len(block) < _BLOCK_BYTES or any(block):
        raise tarfile.ReadError("no end mark")


def _tidy(name: str) -> str:
    return str(PurePosixPath(name))


def _split_folders(spec: WebdatasetSpec) -> list[tuple[str, Path]]:
    if spec.splits is not None:
        return [(split, require_path(path)) for split, paths in spec.splits.items() for path in paths]
    [root] = spec.roots()[""]
    below = sorted(require_path(root).iterdir()) if root.is_dir() else []
    parts = [(SPLIT_NAMES[path.name.lower()], path) for path in below if path.name.lower() in SPLIT_NAMES]
    return sorted(parts, key=lambda part: part[0] != "train") or [(spec.split, root)]


def _list_shards(folder: Path, split: str, log: DamageLog) -> list[Path]:
    if folder.is_file():
        return [folder]
    shards = [path for path in folder.iterdir() if re.search(r"\.tar(\.gz)?$", path.name)]
    counted = folder / "nshards.txt"
    if counted.exists():
        text = counted.read_text(encoding="utf-8").strip()
        if not text.isdigit():
            raise DamagedSourceError(f"{counted} holds {text[:20]!r}, expected the number of shards")
        wanted = [require_path(folder / f"{number}.tar") for number in range(int(text))]
        for path in sorted(set(shards) - set(wanted)):
            log.add(f"{split}/{path.name}", f"a shard that {counted.name} does not count")
        return wanted
    if not shards:
        raise DamagedSourceError(f"no shards (*.tar) in {folder}")
    return sorted(
        shards, key=lambda path: [(int(part) if part.isdigit() else -1, part) for part in _parts(path)]
    )


def _parts(path: Path) -> list[str]:
    return re.split(r"(\d+)", path.name)


def _read_class_names(folders: list[Path]) -> list[str] | None:
    """Return the names that lie in or beside the split folders, if any."""
    places = dict.fromkeys(
        place / "classnames.txt" for folder in folders for place in (folder.parent, folder)
    )
    found = [place for place in places if place.is_file()]
    names = [_read_names(place) for place in found]
    if any(other != names[0] for other in names[1:]):
        raise DamagedSourceError(f"class names disagree between {', '.join(map(str, found))}")
    return names[0] if names else None


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
