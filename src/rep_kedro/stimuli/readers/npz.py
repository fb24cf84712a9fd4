"""NumPy archives with an array of images and an array of labels."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rep_kedro.stimuli.base import FileSourceSpec, require_path
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
        for part in _read_parts(split, file, spec)
    ]
    largest = max(
        (int(labels.max()) for _, _, labels in parts if labels is not None and len(labels)), default=-1
    )
    class_names = spec.class_names or [str(label) for label in range(largest + 1)] or None
    return StimulusStream(class_names, _stimuli(parts), is_encoded_here=True)


def _stimuli(parts: "list[tuple[str, np.ndarray, np.ndarray | None]]") -> Iterator[Stimulus]:
    counts: dict[str, int] = {}
    for split, images, labels in parts:
        first = counts.get(split, 0)
        counts[split] = first + len(images)
        for row, image in enumerate(images):
            label = None if labels is None else int(labels[row])
            yield Stimulus(f"{split}/{first + row:06d}", encode_png(image), label, split)


def _read_parts(
    split: str, file: Path, spec: NpzSpec
) -> "Iterator[tuple[str, np.ndarray, np.ndarray | None]]":
    import zipfile

    import numpy as np

    with require_path(file).open("rb") as stream:  # the library would leave a damaged file open
        try:
            archive = np.load(stream, allow_pickle=False)
        except (ValueError, zipfile.BadZipFile, EOFError) as problem:
            raise DamagedSourceError(f"{file.name} is not an npz file: {problem}") from problem
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DamagedSourceError(f"{file.name} holds one array, expected images and labels")
        for part in [split] if split else _splits_of(spec):
            images = _channels_last(_take(archive, _name_for(spec.images, part), file), file)
            name = None if spec.labels is None else _name_for(spec.labels, part)
            yield part, images, None if name is None else _labels(archive, name, len(images), file)


def _splits_of(spec: NpzSpec) -> list[str]:
    return list(spec.images) if isinstance(spec.images, dict) else [spec.split]


def _name_for(names: str | dict[str, str], split: str) -> str:
    if isinstance(names, str):
        return names
    if split not in names:
        raise DamagedSourceError(f"no array named for the split {split!r}; {suggest(split, names)}")
    return names[split]


def _take(archive: Any, name: str, file: Path) -> "np.ndarray":
    import zipfile
    import zlib

    if name not in archive.files:
        raise DamagedSourceError(f"{file.name} has no array {name!r}; {suggest(name, archive.files)}")
    try:
        array: np.ndarray = archive[name]
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as problem:
        raise DamagedSourceError(f"array {name!r} of {file.name} cannot be read: {problem}") from problem
    return array


def _labels(archive: Any, name: str, n_images: int, file: Path) -> "np.ndarray":
    labels = _take(archive, name, file)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != (n_images,) or labels.dtype.kind not in "iu":
        raise DamagedSourceError(
            f"labels {name!r} of {file.name} are {labels.dtype} {labels.shape},"
            f" expected whole numbers ({n_images},)"
        )
    return labels


def _channels_last(images: "np.ndarray", file: Path) -> "np.ndarray":
    """Return images with channels on the last axis."""
    import numpy as np

    received = f"images of {file.name} are {images.dtype} {images.shape}"
    if images.dtype != np.uint8:
        raise DamagedSourceError(f"{received}, expected uint8 from 0 to 255")
    if images.ndim == 3:
        return images[..., None]
    is_last, is_first = (images.ndim == 4 and images.shape[axis] in {1, 3} for axis in (3, 1))
    if is_last == is_first:
        raise DamagedSourceError(
            f"{received}, expected 1 or 3 channels on either the second or the last axis"
        )
    return images if is_last else images.transpose(0, 2, 3, 1)
