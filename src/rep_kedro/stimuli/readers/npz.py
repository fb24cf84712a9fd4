"""NumPy archives with an array of images and an array of labels, read some rows at a time.

Objects of Python are never read.
"""

import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import model_validator

from rep_kedro.errors import UserError, suggest
from rep_kedro.stimuli.base import FileSourceSpec, PlainName, SourcePath, require_path
from rep_kedro.stimuli.npy_rows import NpzArray, list_arrays
from rep_kedro.stimuli.png import encode_png
from rep_kedro.stimuli.record import DamagedSourceError, DamageLog, Stimulus, StimulusStream
from rep_kedro.stimuli.shards import require_all_shards
from rep_kedro.stimuli.split_names import parse_name
from rep_kedro.stimuli.split_rule import split_files
from rep_kedro.stimuli.walking import note_unread, walk_files

if TYPE_CHECKING:
    import numpy as np


class NpzSpec(FileSourceSpec):
    """Arrays in ``.npz`` files; pixels must be uint8.

    Attributes:
        path: One file, or a folder of files whose names say the split (``rep_kedro.stimuli.split_rule``).
        images: Name of the array of images, shape (n, height, width), (n, height, width, 1 or 3) or
            (n, 1 or 3, height, width); or one name for each split, for files that hold several splits.
        labels: Name of the array of labels, shape (n,) or (n, 1); None for a set without labels.
        label_files: Files with the labels by split, where they are not in the images' files.
        transpose: Exchange rows and columns of each image: EMNIST's files hold them transposed.
    """

    source: Literal["npz"] = "npz"
    images: str | dict[str, str] = "x"
    labels: str | dict[str, str] | None = "y"
    label_files: dict[PlainName, SourcePath] | None = None
    transpose: bool = False

    path_fields: ClassVar[frozenset[str]] = FileSourceSpec.path_fields | {"label_files"}

    @model_validator(mode="after")
    def _refuse_split_twice(self) -> "NpzSpec":
        if isinstance(self.images, dict) and self.splits is not None:
            raise UserError(
                "images by split has no effect together with splits; give one name of the array of images"
            )
        if isinstance(self.images, dict) and "split" in self.model_fields_set:
            raise UserError("split has no effect together with images by split; remove one of the two")
        return self

    def roots(self) -> dict[str, list[Path]]:
        """Return the files and folders that the source reads, by split ('' for ``path``)."""
        roots = super().roots()
        return roots | {f"labels of {split}": [file] for split, file in (self.label_files or {}).items()}


def read(spec: NpzSpec, log: DamageLog) -> StimulusStream:
    """Open the source; ids are ``<split>/<position>``, positions running on through a split's files.

    Raises:
        FileNotFoundError: If a file is missing.
        DamagedSourceError: If a file is not an archive, an array is missing, or shapes or types do not fit.
        UserError: If names could be those of splits, or not.
    """
    parts = [part for split, file in _list_files(spec, log) for part in _open_parts(split, file, spec)]
    if spec.label_files is not None:
        unused = sorted(set(spec.label_files) - {split for split, _, _ in parts})
        if unused:
            raise UserError(f"label_files names splits without images: {', '.join(unused)}")
    return StimulusStream(spec.class_names, _stimuli(parts, spec), is_encoded_here=True)


def _list_files(spec: NpzSpec, log: DamageLog) -> list[tuple[str, Path]]:
    """Return (split, file) of all archives of images; split is '' where the names of arrays say it."""
    found: list[tuple[str, Path]] = []
    for split, places in FileSourceSpec.roots(spec).items():
        for place in places:
            folder = place if require_path(place).is_dir() else place.parent
            there = dict(walk_files(folder, log)) if place.is_dir() else {place.name: place}
            label_files = {file.resolve() for file in (spec.label_files or {}).values()}
            there = {name: file for name, file in there.items() if file.resolve() not in label_files}
            names = [name for name in there if not place.is_dir() or name.lower().endswith(".npz")]
            for name in there.keys() - set(names):
                note_unread(name, log)
            if not names:
                raise DamagedSourceError(f"no npz files (*.npz) in {place}")
            require_all_shards(there[name] for name in names if place.is_dir())
            _require_no_labels_apart(names, folder, spec)
            is_by_array = isinstance(spec.images, dict)
            given = [split] * len(names) if split or is_by_array else split_files(names, spec, str(folder))
            found += [(own, there[name]) for name, own in zip(names, given, strict=True) if own is not None]
            log.left_out.update(name for name, own in zip(names, given, strict=True) if own is None)
    return sorted(found, key=lambda file: file[0] != "train")


def _require_no_labels_apart(names: list[str], folder: Path, spec: NpzSpec) -> None:
    """Refuse files that hold labels alone, by their names, unless the parameters name them."""
    apart = [name for name in names if "label" in name.lower()]
    if len(names) > 1 and apart and spec.label_files is None and spec.splits is None:
        splits = {name: parse_name(name.partition(".")[0], ("label", "labels")) for name in apart}
        given = ", ".join(
            f"{own.split if own else spec.split}: {folder / name}" for name, own in splits.items()
        )
        raise UserError(
            f"{folder} holds labels in files of their own; say `label_files: {{{given}}}`, and name the"
            " arrays with `images` and `labels` (NumPy's own name is arr_0)"
        )


def _stimuli(parts: "list[tuple[str, NpzArray, np.ndarray | None]]", spec: NpzSpec) -> Iterator[Stimulus]:
    counts: dict[str, int] = {}
    for split, images, labels in parts:
        first = counts.get(split, 0)
        counts[split] = first + images.shape[0]
        to_pixels = _channels_last(images)
        row = 0
        for block in images.blocks():
            for stored in to_pixels(block):
                image = stored.swapaxes(0, 1) if spec.transpose else stored
                label = None if labels is None else int(labels[row])
                yield Stimulus(f"{split}/{first + row:06d}", encode_png(image), label, split)
                row += 1


def _open_parts(split: str, file: Path, spec: NpzSpec) -> "Iterator[tuple[str, NpzArray, np.ndarray | None]]":
    there = list_arrays(file)
    for part in [split] if split else _splits_of(spec):
        images = NpzArray(file, _name_for(spec.images, part), there, spec.limits)
        _channels_last(images)
        height, width = images.shape[2:] if _is_channels_first(images) else images.shape[1:3]
        spec.limits.require_pixels(width, height, f"an image of {file.name}")
        labels = _labels(_find_labels(part, file, there, spec), images.shape[0])
        yield part, images, labels if labels is None or len(labels) else None


def _find_labels(
    split: str, file: Path, there: Mapping[str, zipfile.ZipInfo], spec: NpzSpec
) -> NpzArray | None:
    if spec.labels is None:
        return None
    name = _name_for(spec.labels, split)
    if spec.label_files is not None:
        if split not in spec.label_files:
            raise UserError(
                f"label_files has no file for the split {split!r}; {suggest(split, spec.label_files)}"
            )
        file = spec.label_files[split]
        return NpzArray(file, name, list_arrays(file), spec.limits)
    if name not in there and len(there) == 1:
        raise DamagedSourceError(
            f"{file.name} holds one array, {next(iter(there))!r}, expected images and labels; name the files"
            f" with the labels, such as `label_files: {{{split}: FILE}}`, and the arrays, such as"
            f" `images: {next(iter(there))}` and `labels: NAME`; or say `labels: null` for a set without"
            " labels"
        )
    return NpzArray(file, name, there, spec.limits)


def _splits_of(spec: NpzSpec) -> list[str]:
    return list(spec.images) if isinstance(spec.images, dict) else [spec.split]


def _name_for(names: str | dict[str, str], split: str) -> str:
    if isinstance(names, str):
        return names
    if split not in names:
        raise DamagedSourceError(f"no array named for the split {split!r}; {suggest(split, names)}")
    return names[split]


def _labels(array: NpzArray | None, n_images: int) -> "np.ndarray | None":
    import numpy as np

    if array is None:
        return None
    if array.shape not in {(n_images,), (n_images, 1)} or array.dtype.kind not in "iu":
        raise DamagedSourceError(
            f"labels {array.name!r} of {array.file.name} are {array.dtype} {array.shape},"
            f" expected whole numbers ({n_images},)"
        )
    blocks = [block.reshape(-1) for block in array.blocks()]
    return np.concatenate(blocks) if blocks else np.empty(0, dtype=np.int64)


def _is_channels_first(images: NpzArray) -> bool:
    return len(images.shape) == 4 and images.shape[3] not in {1, 3}


def _channels_last(images: NpzArray) -> "Callable[[np.ndarray], np.ndarray]":
    """Return what makes (n, height, width, channels) of some rows of an array of images."""
    import numpy as np

    shape = images.shape
    received = f"images of {images.file.name} are {images.dtype} {shape}"
    if images.dtype != np.uint8:
        raise DamagedSourceError(f"{received}, expected uint8 from 0 to 255")
    if len(shape) == 3:
        return lambda block: block[..., None]
    is_last, is_first = (len(shape) == 4 and shape[axis] in {1, 3} for axis in (3, 1))
    if is_last == is_first:
        raise DamagedSourceError(
            f"{received}, expected 1 or 3 channels on either the second or the last axis"
        )
    return (lambda block: block.transpose(0, 2, 3, 1)) if is_first else (lambda block: block)
