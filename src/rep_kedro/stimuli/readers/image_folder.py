"""A folder of image files, flat or with a folder for each class, with or without folders for the splits."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import model_validator

from rep_kedro.errors import UserError, shorten
from rep_kedro.stimuli.base import require_path
from rep_kedro.stimuli.class_folders import Level, class_of_folders
from rep_kedro.stimuli.classes import order_names, require_distinct, shared_names
from rep_kedro.stimuli.decoding import IMAGE_SUFFIXES
from rep_kedro.stimuli.label_table_spec import TableLabelledSpec, is_label_table
from rep_kedro.stimuli.limits import Limits, TooLargeError
from rep_kedro.stimuli.record import DamagedSourceError, DamageLog, Stimulus, StimulusStream
from rep_kedro.stimuli.split_rule import Folders, split_folders
from rep_kedro.stimuli.table_labels import with_table_labels
from rep_kedro.stimuli.walking import empty_folders, walk_files


class ImageFolderSpec(TableLabelledSpec):
    """Image files below a folder.

    Folders named after splits are the splits (``rep_kedro.stimuli.split_rule``). Below them a folder's name
    is the class (``rep_kedro.stimuli.class_folders``); without such folders the set has no labels.

    Attributes:
        classes: Which of folders in folders names the class: the ``first``, the ``last`` (that
            holds the image), or ``none``. Where it is not given, folders that could be read both ways are
            refused.
    """

    source: Literal["image_folder"] = "image_folder"
    classes: Level | None = None

    @model_validator(mode="after")
    def _require_one_place_of_labels(self) -> "ImageFolderSpec":
        if self.labels is not None and self.classes is not None:
            raise UserError("classes has no effect together with labels; remove one of the two")
        return self


class _Entry(NamedTuple):
    stimulus_id: str
    file: Path
    split: str
    folders: Folders


def read(spec: ImageFolderSpec, log: DamageLog) -> StimulusStream:
    """Open the source; ids are paths relative to the folder.

    Raises:
        FileNotFoundError: If a folder is missing.
        DamagedSourceError: If there is no image, or a class that ``class_names`` does not list.
        UserError: If folders could be splits or classes, or classes of two levels.
    """
    entries = [
        entry for split, roots in spec.roots().items() for entry in _list_entries(split, roots, spec, log)
    ]
    if not entries:
        log.require_none()
        raise DamagedSourceError(
            f"no image in {_places(spec)}; known endings: {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    if spec.labels is not None:
        unlabelled = dict.fromkeys((entry.split, entry.folders) for entry in entries)
        stream = StimulusStream(None, _stimuli(entries, unlabelled, spec.limits, log))
        return with_table_labels(stream, spec, log, ids=[entry.stimulus_id for entry in entries])
    label_of, class_names = _label_by_folder(entries, spec, log)
    return StimulusStream(class_names or None, _stimuli(entries, label_of, spec.limits, log))


def find_splits(spec: ImageFolderSpec) -> set[str]:
    """Return the splits of the images, without reading them.

    Raises:
        DamagedSourceError: If there is no image.
        UserError: If folders could be splits or classes.
    """
    log = DamageLog()
    splits = {
        entry.split
        for split, roots in spec.roots().items()
        for entry in _list_entries(split, roots, spec, log)
    }
    if not splits:
        raise DamagedSourceError(f"no image in {_places(spec)}")
    return splits


def _label_by_folder(
    entries: list[_Entry], spec: ImageFolderSpec, log: DamageLog
) -> tuple[dict[tuple[str, Folders], int | None], list[str]]:
    """Return the label of the images in each folder, and the names of the classes."""
    folders = {(entry.split, entry.folders) for entry in entries}
    class_of = class_of_folders(folders, spec.classes, _places(spec), log)
    found = order_names(name for name in class_of.values() if name is not None)
    require_distinct(found, is_settled=bool(spec.class_names or spec.label_map))
    class_names = spec.class_names or found
    unknown = [name for name in found if name not in set(class_names)]
    if unknown:
        raise DamagedSourceError(f"class folders {unknown} are not among class_names {class_names}")
    if shared := shared_names(class_names):
        raise UserError(f"class_names has several classes named {shorten(shared)}; rename them")
    labels = {name: label for label, name in enumerate(class_names)}
    label_of = {key: None if name is None else labels[name] for key, name in class_of.items()}
    return label_of, class_names


def _stimuli(
    entries: list[_Entry],
    label_of: Mapping[tuple[str, Folders], int | None],
    limits: Limits,
    log: DamageLog,
) -> Iterator[Stimulus]:
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
        yield Stimulus(entry.stimulus_id, image, label_of[entry.split, entry.folders], entry.split)


def _list_entries(split: str, roots: list[Path], spec: ImageFolderSpec, log: DamageLog) -> Iterator[_Entry]:
    for root in roots:
        if not require_path(root).is_dir():
            raise DamagedSourceError(f"{root} is a file, an image_folder needs a folder")
        for folder in empty_folders(root):
            log.add(folder, "an empty folder")
        files = []
        for relative, file in walk_files(root, log):
            if is_label_table(file, spec):
                continue
            if file.suffix.lower() in IMAGE_SUFFIXES:
                files.append((relative, file, tuple(relative.split("/")[:-1])))
            else:
                log.add(relative, f"unknown ending {file.suffix!r}")
        folders = {parts for _, _, parts in files}
        place_of = split_folders(folders, spec, str(root), stated=split)
        for relative, file, parts in files:
            place = place_of[parts]
            if place is not None:
                yield _Entry(f"{split}/{relative}" if split else relative, file, *place)
            elif spec.splits is not None:
                log.left_out[parts[0] if parts else "."] += 1
            else:
                log.add(relative, "an image outside of the folders of the splits")


def _places(spec: ImageFolderSpec) -> str:
    return ", ".join(str(path) for paths in spec.roots().values() for path in paths)
