"""Files of arrays, recognised by their content and read some rows at a time; objects of Python never."""

import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rep_kedro.errors import UserError
from rep_kedro.features.from_files.hdf5 import open_datasets
from rep_kedro.features.from_files.parquet import open_columns
from rep_kedro.features.from_files.stored_arrays import Sliced, StoredArray, kind_of, rows_per_block

if TYPE_CHECKING:
    import numpy as np

    from rep_kedro.stimuli.npy_rows import NpzArray

NPY_NAME = "features"
_HEAD_BYTES = 16
_KINDS = "npy, npz, safetensors, Parquet, HDF5"
_SHOWN_CHARS = 150
_NUMBERS_OF_SAFETENSORS = frozenset(
    {"BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "F16", "BF16", "F32", "F64"}
    | {"F8_E4M3", "F8_E5M2"}
)


class _OfArchive(NamedTuple):
    """An array of an `.npz` file.

    Attributes:
        array: As it is read.
    """

    array: "NpzArray"

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return self.array.shape

    @property
    def kind(self) -> str:
        """Of its values."""
        return kind_of(self.array.dtype)

    def blocks(self) -> "Iterator[np.ndarray[Any, Any]]":
        """Yield the array some rows at a time."""
        return self.array.blocks()


def open_arrays(
    path: Path, name: str, ids: str | None = None, *, limit_bytes: int
) -> Mapping[str, StoredArray]:
    """Return the arrays of a file by name, in the order of the file.

    Args:
        path: The file.
        name: What messages call it.
        ids: Name of the array of stimulus ids, which in Parquet is not a feature.
        limit_bytes: Most memory that a row of an `.npz` file, a chunk of an HDF5 file or a page of a Parquet
            file may take: these are unpacked as a whole.

    Raises:
        UserError: If it is damaged, of another format, or holds objects of Python.
    """
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    openers: dict[bytes, Callable[[Path], Mapping[str, StoredArray]]] = {
        b"\x93NUMPY": _open_npy,
        b"PK": partial(_open_npz, limit_bytes=limit_bytes),
        b"PAR1": partial(open_columns, ids=ids, limit_bytes=limit_bytes),
        b"\x89HDF\r\n\x1a\n": partial(open_datasets, limit_bytes=limit_bytes),
    }
    is_safetensors = head[8:9] == b"{"
    opener = next((each for magic, each in openers.items() if head.startswith(magic)), None)
    if opener is None and not is_safetensors:
        raise UserError(f"{name} begins with {head[:8].hex(' ') or 'nothing'}; known formats: {_KINDS}")
    with explained(name):
        return (opener or _open_safetensors)(path)


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Say in one line, beginning with a name, why a library cannot read a file."""
    try:
        yield
    except UserError as problem:
        text = str(problem)
        raise UserError(text if text.startswith(name) else f"{name}: {text}") from problem
    except MemoryError as problem:
        raise UserError(
            f"{name} needs more memory than there is ({problem or 'none is left'}); free some, or write fewer"
            " features to the file"
        ) from problem
    except Exception as problem:  # the libraries raise whatever the damage makes them
        cause = " ".join(str(problem).split())[:_SHOWN_CHARS]
        raise UserError(f"{name} is damaged or contains more than arrays: {cause}") from problem


def _open_npy(path: Path) -> dict[str, StoredArray]:
    import numpy as np

    array = np.load(path, mmap_mode="r", allow_pickle=False)
    n_rows = rows_per_block(array.shape, array.dtype.itemsize)
    return {NPY_NAME: Sliced(array.shape, kind_of(array.dtype), array, n_rows)}


def _open_npz(path: Path, limit_bytes: int) -> Mapping[str, StoredArray]:
    from rep_kedro.stimuli.limits import Limits, TooLargeError
    from rep_kedro.stimuli.npy_rows import NpzArray, list_arrays

    there, limits = list_arrays(path), Limits(record_bytes=limit_bytes, stimuli=sys.maxsize)

    def open_one(key: str) -> StoredArray:
        try:
            return _OfArchive(NpzArray(path, key, there, limits))
        except TooLargeError as problem:
            raise UserError(
                f"a row of array {key!r} takes more than {limit_bytes:,} bytes; if meant, raise limit_bytes"
            ) from problem

    return Lazily(there, open_one)


def _open_safetensors(path: Path) -> dict[str, StoredArray]:
    from safetensors import safe_open

    # Closed when the last slice of it is gone; it is mapped, not read.
    file: Any = safe_open(path, framework="pt")
    file.__enter__()
    slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118 - it is not a mapping
    found = dict[str, StoredArray]()
    for key, part in slices.items():
        kind, shape = part.get_dtype(), tuple(part.get_shape())
        is_number = kind in _NUMBERS_OF_SAFETENSORS
        found[key] = Sliced(shape, "number" if is_number else kind, part, rows_per_block(shape))
    return found


class Lazily(Mapping[str, StoredArray]):
    """Arrays by name, each opened when it is asked for: one that cannot be read does not hinder others."""

    def __init__(self, names: Collection[str], opener: Callable[[str], StoredArray]) -> None:
        self._names, self._open = names, opener

    def __getitem__(self, name: str) -> StoredArray:
        """Open an array."""
        return self._open(name)

    def __contains__(self, name: object) -> bool:
        """Return whether there is such an array, without opening it."""
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        """Return the names."""
        return iter(self._names)

    def __len__(self) -> int:
        """Return their number."""
        return len(self._names)
