"""MNIST's file format, plain or gzipped: MNIST, Fashion-MNIST, KMNIST, EMNIST.

A folder holds pairs of files, images (``*images*idx3*``) and labels (``*labels*idx1*``), under their official
names. Images are read some at a time.
"""

import gzip
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from rep_kedro.errors import MissingFileError
from rep_kedro.stimuli.base import FileSourceSpec, require_path
from rep_kedro.stimuli.limits import Limits
from rep_kedro.stimuli.png import encode_png
from rep_kedro.stimuli.record import DamagedSourceError, DamageLog, Stimulus, StimulusStream
from rep_kedro.stimuli.split_rule import split_files
from rep_kedro.stimuli.walking import note_unread, walk_files

if TYPE_CHECKING:
    import numpy as np

_UINT8 = 0x08
_BYTES_AT_A_TIME = 4 << 20
_IMAGES, _LABELS = re.compile(r"images.idx3[^/]*$"), re.compile(r"labels.idx1[^/]*$")
_NEUTRAL = ("images", "idx", "ubyte", "gz")


class IdxSpec(FileSourceSpec):
    """Folders with files in idx format.

    Attributes:
        transpose: Exchange rows and columns of each image: EMNIST's files hold them transposed.
    """

    source: Literal["idx"] = "idx"
    transpose: bool = False


def read(spec: IdxSpec, log: DamageLog) -> StimulusStream:
    """Open the source; ids are ``<split>/<position>``.

    Raises:
        FileNotFoundError: If a folder or file is missing.
        DamagedSourceError: If a file is truncated or of another format, or counts differ.
    """
    parts = [
        (split, IdxFile(images, spec.limits), IdxFile(labels, spec.limits))
        for split, images, labels in _find_pairs(spec, log)
    ]
    for split, images, labels in parts:
        if len(images.shape) != 3 or labels.shape != images.shape[:1]:
            raise DamagedSourceError(
                f"{images.name} ({split}) holds images {images.shape} for labels {labels.shape}, expected"
                " (n, height, width) and (n,)"
            )
    return StimulusStream(spec.class_names, _stimuli(parts, spec), is_encoded_here=True)


class IdxFile:
    """One file in idx format, read from its beginning to its end.

    Args:
        file: Plain or gzipped.
        limits: Of a row and its pixels.

    Attributes:
        name: The file's name.
        shape: Of the array that it holds, from its header.

    Raises:
        DamagedSourceError: If the file is truncated, has bytes left over, or holds other than unsigned bytes.

    Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database", section FILE FORMATS.
    """

    def __init__(self, file: Path, limits: Limits) -> None:
        self._file = require_path(file)
        self._limits = limits
        self.name = file.name
        with self._opened() as stream:
            self.shape = self._read_shape(stream)
        if not _is_compressed(file):
            self._require_size(file.stat().st_size)

    def rows(self) -> "Iterator[np.ndarray]":
        """Yield the array some rows at a time, uint8, shape (n_rows, ...)."""
        import numpy as np

        row_bytes, left = prod(self.shape[1:]), self.shape[0]
        with self._opened() as stream:
            header = self._read_shape(stream)
            found = self._n_header_bytes()
            while left and row_bytes:
                n_rows = min(left, max(1, _BYTES_AT_A_TIME // row_bytes))
                content = stream.read(n_rows * row_bytes)
                found += len(content)
                if len(content) < n_rows * row_bytes:
                    break
                left -= n_rows
                yield np.frombuffer(content, dtype=np.uint8).reshape(n_rows, *header[1:])
            self._require_size(found + len(stream.read(1)))

    def _n_header_bytes(self) -> int:
        return 4 + 4 * len(self.shape)

    def _require_size(self, found: int) -> None:
        expected = self._n_header_bytes() + prod(self.shape)
        if found != expected:
            what = (
                f"is truncated: it has {found} bytes"
                if found < expected
                else "has bytes behind its last value"
            )
            raise DamagedSourceError(f"{self.name} {what}; its header asks for {expected}")

    def _read_shape(self, stream: IO[bytes]) -> tuple[int, ...]:
        start = stream.read(4)
        if len(start) < 4 or start[:2] != b"\0\0" or start[2] != _UINT8:
            raise DamagedSourceError(
                f"{self.name} is not an idx file of unsigned bytes (begins with {start.hex()})"
            )
        sizes = stream.read(4 * start[3])
        shape = tuple(int.from_bytes(sizes[at : at + 4], "big") for at in range(0, len(sizes), 4))
        if len(sizes) < 4 * start[3] or not 1 <= len(shape) <= 3 or 0 in shape[1:]:
            raise DamagedSourceError(
                f"{self.name} has an impossible header, {start.hex()} {sizes.hex()[:48]}"
            )
        self._limits.require_stimuli(shape[0], self.name)
        if len(shape) == 3:
            self._limits.require_pixels(shape[2], shape[1], f"an image of {self.name}")
        self._limits.require_bytes(prod(shape[1:]), f"a row of {self.name}")
        return shape

    @contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        try:
            with self._file.open("rb") as plain:
                if _is_compressed(self._file):
                    with gzip.GzipFile(fileobj=plain) as unpacked:
                        yield unpacked  # type: ignore[misc]  # the library calls it IO[bytes] elsewhere
                else:
                    yield plain
        except (EOFError, gzip.BadGzipFile, zlib.error) as problem:
            raise DamagedSourceError(f"{self.name} is truncated or damaged: {problem}") from problem


def _is_compressed(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


def _stimuli(parts: list[tuple[str, IdxFile, IdxFile]], spec: IdxSpec) -> Iterator[Stimulus]:
    for split, images, labels in parts:
        pairs = zip(_one_by_one(images), _one_by_one(labels), strict=True)
        for position, (stored, label) in enumerate(pairs):
            image = stored.T if spec.transpose else stored
            yield Stimulus(f"{split}/{position:06d}", encode_png(image), int(label), split)


def _one_by_one(file: IdxFile) -> "Iterator[np.ndarray]":
    for rows in file.rows():
        yield from rows


def _find_pairs(spec: IdxSpec, log: DamageLog) -> list[tuple[str, Path, Path]]:
    """Return (split, images, labels) of all pairs, train first."""
    pairs = []
    for split, places in spec.roots().items():
        for place in places:
            pairs += _pairs_at(require_path(place), split, spec, log)
    if len({split for split, _, _ in pairs}) != len(pairs):
        raise DamagedSourceError(
            f"several pairs for one split: {[images.name for _, images, _ in pairs]}; name one for each, such"
            " as `splits: {train: FILE, test: FILE}`"
        )
    return sorted(pairs, key=lambda pair: pair[0] != "train")


def _pairs_at(place: Path, split: str, spec: IdxSpec, log: DamageLog) -> list[tuple[str, Path, Path]]:
    folder = place if place.is_dir() else place.parent
    files = (
        dict(walk_files(folder, log)) if place.is_dir() else {path.name: path for path in folder.iterdir()}
    )
    there = files if place.is_dir() else [place.name]
    names = [name for name in there if _IMAGES.search(name)]
    if not names:
        raise DamagedSourceError(f"no idx images (such as train-images-idx3-ubyte.gz) in {place}")
    labels = {name: _labels_of(name, files, folder) for name in names}
    if place.is_dir():
        for name in sorted(files.keys() - {*names, *labels.values()}):
            _note_left_over(name, log)
    if split:
        return [(split, files[name], files[labels[name]]) for name in _of_role(split, names, spec, folder)]
    pairs = []
    for name, own in zip(names, split_files(names, spec, str(folder), _NEUTRAL), strict=True):
        if own is None:
            log.left_out[name] += 1
        else:
            pairs.append((own, files[name], files[labels[name]]))
    return pairs


def _of_role(split: str, names: list[str], spec: IdxSpec, folder: Path) -> list[str]:
    """Return the images of a folder that are meant by a split; the only ones if there are no others."""
    if len(names) == 1:
        return names
    roles = split_files(names, spec, str(folder), _NEUTRAL)
    named = [name for name, own in zip(names, roles, strict=True) if own == split]
    if len(named) != 1:
        raise DamagedSourceError(
            f"expected one pair of idx files for {split} in {folder}, found {len(named)}"
        )
    return named


def _labels_of(name: str, files: Mapping[str, Path], folder: Path) -> str:
    start, _, file = name.rpartition("/")
    plain = re.sub(r"(?i)\.gz$", "", file).replace("images", "labels").replace("idx3", "idx1")
    wanted = (f"{start}/{candidate}".lstrip("/") for candidate in (plain, f"{plain}.gz"))
    there = [path for path in wanted if path in files]
    if not there:
        raise MissingFileError(f"no labels {plain} or {plain}.gz for {name} in {folder}")
    return there[0]


def _note_left_over(name: str, log: DamageLog) -> None:
    if _LABELS.search(name):
        log.add(name, "labels without images")
    elif "idx" in name.lower():
        log.add(name, "an idx file that is neither images nor their labels")
    else:
        note_unread(name, log)
