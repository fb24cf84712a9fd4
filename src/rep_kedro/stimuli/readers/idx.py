"""MNIST's file format, plain or gzipped: MNIST, Fashion-MNIST, KMNIST, EMNIST.

A folder holds pairs of files, images (``*images*idx3*``) and labels (``*labels*idx1*``), under their official
names. Images are read some at a time.
"""

import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from rep_kedro.errors import MissingFileError
from rep_kedro.stimuli.base import FileSourceSpec, require_path
from rep_kedro.stimuli.png import encode_png
from rep_kedro.stimuli.record import DamagedSourceError, DamageLog, Stimulus, StimulusStream

if TYPE_CHECKING:
    import numpy as np

_UINT8 = 0x08
_BYTES_AT_A_TIME = 4 << 20
_MAX_ROW_BYTES = 1 << 30
_ROLES = {"train": "train", "t10k": "test", "test": "test"}


class IdxSpec(FileSourceSpec):
    """Folders with files in idx format."""

    source: Literal["idx"] = "idx"


def read(spec: IdxSpec, log: DamageLog) -> StimulusStream:
    """Open the source; ids are ``<split>/<position>``.

    Raises:
        FileNotFoundError: If a folder or file is missing.
        DamagedSourceError: If a file is truncated or of another format, or counts differ.
    """
    parts = [(split, IdxFile(images), IdxFile(labels)) for split, images, labels in _find_pairs(spec)]
    for split, images, labels in parts:
        if len(images.shape) != 3 or labels.shape != images.shape[:1]:
            raise DamagedSourceError(
                f"{images.name} ({split}) holds images {images.shape} for labels {labels.shape}, expected"
                " (n, height, width) and (n,)"
            )
    class_names = spec.class_names
    if class_names is None:
        largest = max((int(rows.max()) for _, _, labels in parts for rows in labels.rows()), default=-1)
        class_names = [str(label) for label in range(largest + 1)]
    return StimulusStream(class_names, _stimuli(parts), is_encoded_here=True)


class IdxFile:
    """One file in idx format, read from its beginning to its end.

    Attributes:
        name: The file's name.
        shape: Of the array that it holds, from its header.

    Raises:
        DamagedSourceError: If the file is truncated, has bytes left over, or holds other than unsigned bytes.

    Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database", section FILE FORMATS.
    """

    def __init__(self, file: Path) -> None:
        self._file = require_path(file)
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
            size = f"has {found} bytes" if found < expected else "has more bytes"
            raise DamagedSourceError(f"{self.name} {size}, its header asks for {expected}: truncated?")

    def _read_shape(self, stream: IO[bytes]) -> tuple[int, ...]:
        start = stream.read(4)
        if len(start) < 4 or start[:2] != b"\0\0" or start[2] != _UINT8:
            raise DamagedSourceError(
                f"{self.name} is not an idx file of unsigned bytes (begins with {start.hex()})"
            )
        sizes = stream.read(4 * start[3])
        shape = tuple(int.from_bytes(sizes[at : at + 4], "big") for at in range(0, len(sizes), 4))
        if len(sizes) < 4 * start[3] or prod(shape[1:]) > _MAX_ROW_BYTES:
            raise DamagedSourceError(f"{self.name} has an impossible header, {start.hex()} {sizes.hex()}")
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


def _stimuli(parts: list[tuple[str, IdxFile, IdxFile]]) -> Iterator[Stimulus]:
    for split, images, labels in parts:
        pairs = zip(_one_by_one(images), _one_by_one(labels), strict=True)
        for position, (image, label) in enumerate(pairs):
            yield Stimulus(f"{split}/{position:06d}", encode_png(image), int(label), split)


def _one_by_one(file: IdxFile) -> "Iterator[np.ndarray]":
    for rows in file.rows():
        yield from rows


def _find_pairs(spec: IdxSpec) -> list[tuple[str, Path, Path]]:
    """Return (split, images, labels) of all pairs, train first."""
    pairs = []
    for split, folders in spec.roots().items():
        found = [pair for folder in folders for pair in _pairs_in(require_path(folder), spec)]
        named = [pair for pair in found if not split or pair[0] == split]
        if split and len(named or found) != 1:
            raise DamagedSourceError(
                f"expected one pair of idx files for {split}, found {len(named or found)}"
            )
        pairs += [(split or own, images, labels) for own, images, labels in (named or found)]
    if len({split for split, _, _ in pairs}) != len(pairs):
        raise DamagedSourceError(f"several pairs for one split: {[images.name for _, images, _ in pairs]}")
    return sorted(pairs, key=lambda pair: pair[0] != "train")


def _pairs_in(folder: Path, spec: IdxSpec) -> Iterator[tuple[str, Path, Path]]:
    files = {path.name: path for path in folder.iterdir()} if folder.is_dir() else {folder.name: folder}
    images = [name for name in sorted(files) if re.search(r"images.idx3", name)]
    if not images:
        raise DamagedSourceError(f"no idx images (such as train-images-idx3-ubyte.gz) in {folder}")
    for name in images:
        plain = name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
        labels = [folder / candidate for candidate in (plain, f"{plain}.gz") if candidate in files]
        if not labels:
            raise MissingFileError(f"no labels {plain} or {plain}.gz beside {name} in {folder}")
        role = next((role for word, role in _ROLES.items() if word in name), spec.split)
        yield role, files[name], labels[0]
