"""A folder of image files, flat or with a folder for each class, with or without folders for the splits."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from rep_kedro.stimuli.base import SPLIT_NAMES, FileSourceSpec, require_path
from rep_kedro.stimuli.decoding import IMAGE_SUFFIXES
from rep_kedro.stimuli.limits import Limits, TooLargeError
from rep_kedro.stimuli.record import DamagedSourceError, DamageLog, Stimulus, StimulusStream
from rep_kedro.stimuli.walking import walk_files


class ImageFolderSpec(FileSourceSpec):
    """Image files below a folder.

    If all folders at the top are named train, test or val (or training, valid, validation), they are the
    splits. Below, the first folder's name is the class; without such folders the set has no labels.
    """

    source: Literal["image_folder"] = "image_folder"


class _Entry(NamedTuple):
    stimulus_id: str
    file: Path
    class_name: str | None
    split: str


def read(spec: ImageFolderSpec, log: DamageLog) -> StimulusStream:
    """Open the source; ids are paths relative to the folder.

    Raises:
        FileNotFoundError: If a folder is missing.
        DamagedSourceError: If there is no image, or a class that ``class_names`` does not list.
    """
    entries = [
        entry for split, roots in spec.roots().items() for entry in _list_entries(split, roots, spec, log)
    ]
    if not entries:
        log.require_none()
        raise DamagedSourceError(
            f"no image in {_places(spec)}; known endings: {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    found = sorted({entry.class_name for entry in entries if entry.class_name is not None})
    class_names = spec.class_names or found
    unknown = sorted(set(found) - set(class_names))
    if unknown:
        raise DamagedSourceError(f"class folders {unknown} are not among class_names {class_names}")
    return StimulusStream(class_names or None, _stimuli(entries, class_names, spec.limits, log))


def _stimuli(
    entries: list[_Entry], class_names: list[str], limits: Limits, log: DamageLog
) -> Iterator[Stimulus]:
    labels = {name: label for label, name in enumerate(class_names)}
    for entry in entries:
        try:
            limits.require_bytes(entry.file.stat().st_size, "the file")
            image = entry.file.read_bytes()
        except TooLargeError as problem:
            log.add(entry.stimulus_id, str(problem))
            continue
        except OSError as problem:
            log.add(entry.stimulus_id, f"cannot be read: {problem.strerror}")
            continue
        label = None if entry.class_name is None else labels[entry.class_name]
        yield Stimulus(entry.stimulus_id, image, label, entry.split)


def _list_entries(split: str, roots: list[Path], spec: ImageFolderSpec, log: DamageLog) -> Iterator[_Entry]:
    for root in roots:
        if not require_path(root).is_dir():
            raise DamagedSourceError(f"{root} is a file, an image_folder needs a folder")
        _note_empty_classes(root, log)
        files = []
        for relative, file in walk_files(root, log):
            if file.suffix.lower() in IMAGE_SUFFIXES:
                files.append((relative, file))
            else:
                log.add(relative, f"unknown ending {file.suffix!r}")
        has_splits = not split and bool(files) and all(_split_of(relative) for relative, _ in files)
        for relative, file in files:
            folders = relative.split("/")[:-1]
            own_split = (_split_of(relative) or "") if has_splits else (split or spec.split)
            classes = folders[1:] if has_splits else folders
            stimulus_id = f"{split}/{relative}" if split else relative
            yield _Entry(stimulus_id, file, classes[0] if classes else None, own_split)


def _split_of(relative: str) -> str | None:
    """Return the split that the first folder of a path names, if it does."""
    first, separator, _ = relative.partition("/")
    return SPLIT_NAMES.get(first.lower()) if separator else None


def _note_empty_classes(root: Path, log: DamageLog) -> None:
    for folder in sorted(root.iterdir()):
        if folder.is_dir() and not folder.name.startswith(".") and not any(folder.iterdir()):
            log.add(folder.name, "an empty folder")


def _places(spec: ImageFolderSpec) -> str:
    return ", ".join(str(path) for paths in spec.roots().values() for path in paths)
