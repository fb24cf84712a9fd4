"""Arrays in ``.npz`` archives, some rows at a time and without pickle."""

import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from rep_kedro.errors import UserError
from rep_kedro.stimuli.base import require_path
from rep_kedro.stimuli.record import DamagedSourceError
from rep_kedro.stimuli.strict import suggest

if TYPE_CHECKING:
    import numpy as np

_BYTES_AT_A_TIME = 4 << 20
_BAD = (ValueError, OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error)


def list_arrays(file: Path) -> dict[str, zipfile.ZipInfo]:
    """Return the members of an archive by array name.

    Raises:
        FileNotFoundError: If there is no such file.
        DamagedSourceError: If it is no archive, or truncated.
    """
    with require_path(file).open("rb") as stream:
        if stream.read(6) == b"\x93NUMPY":
            raise DamagedSourceError(f"{file.name} holds one array, expected images and labels")
    try:
        with zipfile.ZipFile(file) as archive:
            return {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    except (zipfile.BadZipFile, OSError) as problem:
        raise DamagedSourceError(f"{file.name} is not an npz file: {problem}") from problem


class NpzArray:
    """One array of an archive.

    Attributes:
        file: The archive.
        name: Name of the array in it.
        shape: Of the array, from its header.
        dtype: Of its values, from its header.

    Raises:
        DamagedSourceError: If the array is missing, truncated, longer than its header says, or holds objects
            of Python.
    """

    shape: tuple[int, ...]
    dtype: "np.dtype[Any]"

    def __init__(self, file: Path, name: str, there: Mapping[str, zipfile.ZipInfo]) -> None:
        if name not in there:
            raise DamagedSourceError(
                f"{file.name} has no array {name!r}; {suggest(name, there)}; name it with `images:` or"
                " `labels:`"
            )
        self.file, self.name, self._member = file, name, there[name]
        with self._opened() as stream:
            self.shape, self._is_fortran, self.dtype = _read_header(stream)
            size = self._member.file_size - stream.tell()
        if not self.shape or size != prod(self.shape) * self.dtype.itemsize:
            raise DamagedSourceError(
                f"array {name!r} of {file.name} has {size} bytes for {self.dtype} {self.shape}"
            )

    def blocks(self) -> "Iterator[np.ndarray]":
        """Yield the array some rows at a time.

        An array in Fortran's order is first unpacked to a temporary file, for its rows do not lie together.
        """
        if self._is_fortran and len(self.shape) > 1:
            yield from self._blocks_of_columns()
            return
        with self._opened() as stream:
            _read_header(stream)
            for n_rows in self._block_sizes():
                content = stream.read(n_rows * self._row_bytes())
                yield self._to_array(content, n_rows)
            stream.read(1)  # compares the checksum

    def _blocks_of_columns(self) -> "Iterator[np.ndarray]":
        import numpy as np

        with tempfile.TemporaryFile(prefix="rep_kedro_") as unpacked:
            with self._opened() as stream:
                _read_header(stream)
                shutil.copyfileobj(stream, unpacked, _BYTES_AT_A_TIME)
            mapped = np.memmap(unpacked, self.dtype, "r", shape=self.shape, order="F")
            first = 0
            for n_rows in self._block_sizes():
                yield np.ascontiguousarray(mapped[first : first + n_rows])
                first += n_rows

    def _row_bytes(self) -> int:
        return prod(self.shape[1:]) * self.dtype.itemsize

    def _block_sizes(self) -> Iterator[int]:
        left = self.shape[0] if self._row_bytes() else 0
        while left:
            n_rows = min(left, max(1, _BYTES_AT_A_TIME // self._row_bytes()))
            yield n_rows
            left -= n_rows

    def _to_array(self, content: bytes, n_rows: int) -> "np.ndarray":
        import numpy as np

        return np.frombuffer(content, dtype=self.dtype).reshape(n_rows, *self.shape[1:])

    @contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        try:
            with zipfile.ZipFile(self.file) as archive, archive.open(self._member) as stream:
                yield stream
        except DamagedSourceError:
            raise
        except _BAD as problem:
            raise DamagedSourceError(
                f"array {self.name!r} of {self.file.name} cannot be read: {problem}"
            ) from problem


def _read_header(stream: IO[bytes]) -> "tuple[tuple[int, ...], bool, np.dtype[Any]]":
    """Return shape, whether in Fortran's order, and type; the stream then stands at the first value."""
    from numpy.lib import format as npy

    version = npy.read_magic(stream)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, is_fortran, dtype = read(stream)
    if dtype.hasobject:
        raise UserError("it holds objects of Python, which would need allow_pickle, and that runs code")
    return shape, is_fortran, dtype
