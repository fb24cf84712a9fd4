"""MNIST's file format, plain or gzipped: MNIST, Fashion-MNIST, KMNIST, EMNIST.

A folder holds pairs of files, images (``*images*idx3*``) and labels (``*labels*idx1*``), under their official
names.
"""

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rep_kedro.stimuli.base import FileSourceSpec, require_path
from rep_kedro.stimuli.png import encode_png
from rep_kedro.stimuli.record import DamagedSourceError, DamageLog, Stimulus, StimulusStream

if TYPE_CHECKING:
    import numpy as np

_UINT8 = 0x08
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
    pairs = _find_pairs(spec)
    parts = [(split, read_idx(images), read_idx(labels)) for split, images, labels in pairs]
    for (split, images, labels), (_, file, _) in zip(parts, pairs, strict=True):
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise DamagedSourceError(
                f"{file.name} ({split}) holds images {images.shape} for labels {labels.shape}, expected"
                " (n, height, width) and (n,)"
            )
    largest = max((int(labels.max()) for _, _, labels in parts if len(labels)), default=-1)
    class_names = spec.class_names or [str(label) for label in range(largest + 1)]
    return StimulusStream(class_names, _stimuli(parts), is_encoded_here=True)


def read_idx(file: Path) -> "np.ndarray":
    """Return the array that a file in idx format holds, uint8.

    Raises:
        DamagedSourceError: If the file is truncated, has bytes left over, or holds other than unsigned bytes.

    Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database", section FILE FORMATS.
    """
    import numpy as np

    content = _read_plain(require_path(file))
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UINT8:
        raise DamagedSourceError(
            f"{file.name} is not an idx file of unsigned bytes (begins with {content[:4].hex()})"
        )
    n_axes = content[3]
    start = 4 + 4 * n_axes
    shape = tuple(int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4))
    expected = start + int(np.prod(shape, dtype=object))
    if len(content) != expected:
        raise DamagedSourceError(
            f"{file.name} has {len(content)} bytes, its header asks for {expected}: truncated?"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def _read_plain(file: Path) -> bytes:
    content = file.read_bytes()
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as problem:
        raise DamagedSourceError(f"{file.name} is truncated or damaged: {problem}") from problem


def _stimuli(parts: "list[tuple[str, np.ndarray, np.ndarray]]") -> Iterator[Stimulus]:
    for split, images, labels in parts:
        for position, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield Stimulus(f"{split}/{position:06d}", encode_png(image), int(label), split)


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
            raise FileNotFoundError(f"no labels {plain} or {plain}.gz beside {name} in {folder}")
        role = next((role for word, role in _ROLES.items() if word in name), spec.split)
        yield role, files[name], labels[0]
