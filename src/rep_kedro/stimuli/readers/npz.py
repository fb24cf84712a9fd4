"""NumPy archives with an array of images and an array of labels, read some rows at a time.

Objects of Python are never read.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rep_kedro.stimuli.base import FileSourceSpec
from rep_kedro.stimuli.labels import number_classes
from rep_kedro.stimuli.npy_rows import NpzArray, list_arrays
from rep_kedro.stimuli.png import encode_png
from rep_kedro.stimuli.record import DamagedSourceError, DamageLog, Stimulus, StimulusStream
from rep_kedro.stimuli.strict import suggest

if TYPE_CHECKING:
    import numpy as np


class NpzSpec(FileSourceSpec):
    """Arrays in ``.npz`` files; pixels must be uint8.

    Attributes:
        images: Name of the array of images, shape (n, height, width), (n, height, width, 1 or 3) or
            (n, 1 or 3, height, width); or one name for each split, for files that hold several splits.
        labels: Name of the array of labels, shape (n,) or (n, 1); None for a set without labels.
    """

    source: Literal["npz"] = "npz"
    images: str | dict[str, str] = "x"
    labels: str | dict[str, str] | None = "y"


def read(spec: NpzSpec, log: DamageLog) -> StimulusStream:
    """Open the source; ids are ``<split>/<position>``, positions running on through a split's files.

    Raises:
        FileNotFoundError: If a file is missing.
        DamagedSourceError: If a file is no archive, an array is missing, or shapes or types do not fit.
    """
    parts = [
        part
        for split, files in spec.roots().items()
        for file in files
        for part in _open_parts(split, file, spec)
    ]
    largest = max((int(labels.max()) for _, _, labels in parts if labels is not None), default=-1)
    class_names = spec.class_names or number_classes(largest)
    return StimulusStream(class_names, _stimuli(parts), is_encoded_here=True)


def _stimuli(parts: "list[tuple[str, NpzArray, np.ndarray | None]]") -> Iterator[Stimulus]:
    counts: dict[str, int] = {}
    for split, images, labels in parts:
        first = counts.get(split, 0)
        counts[split] = first + images.shape[0]
        to_pixels = _channels_last(images)
        row = 0
        for block in images.blocks():
            for image in to_pixels(block):
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
        name = None if spec.labels is None else _name_for(spec.labels, part)
        labels = None if name is None else _labels(NpzArray(file, name, there, spec.limits), images.shape[0])
        yield part, images, labels if labels is None or len(labels) else None


def _splits_of(spec: NpzSpec) -> list[str]:
    return list(spec.images) if isinstance(spec.images, dict) else [spec.split]


def _name_for(names: str | dict[str, str], split: str) -> str:
    if isinstance(names, str):
        return names
    if split not in names:
        raise DamagedSourceError(f"no array named for the split {split!r}; {suggest(split, names)}")
    return names[split]


def _labels(array: NpzArray, n_images: int) -> "np.ndarray":
    import numpy as np

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
