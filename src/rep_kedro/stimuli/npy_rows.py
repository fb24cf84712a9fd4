"""Arrays in ``.npz`` archives, some rows at a time and without pickle."""

import io
import shutil
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from rep_kedro.errors import UserError, suggest
from rep_kedro.stimuli.base import require_path
from rep_kedro.stimuli.limits import Limits
from rep_kedro.stimuli.record import DamagedSourceError

if TYPE_CHECKING:
    import numpy as np

_BYTES_AT_A_TIME = 4 << 20
_HEADER_BYTES = 1 << 16
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BAD = (ValueError, OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error)


def list_arrays(file: Path) -> dict[str, zipfile.ZipInfo]:
    """Return the members of an archive by array name.

    Raises:
        FileNotFoundError: If there is no such file.
        DamagedSourceError: If it is not an archive, or truncated, or has a name twice.
    """
    with require_path(file).open("rb") as stream:
        if stream.read(6) == b"\x93NUMPY":
            raise DamagedSourceError(f"{file.name} holds one array, expected images and labels")
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except _BAD as problem:
        raise DamagedSourceError(f"{file.name} is not an npz file: {problem}") from problem
    arrays = {info.filename.removesuffix(".npy"): info for info in members}
    if len(arrays) < len(members):
        names = Counter(info.filename.removesuffix(".npy") for info in members)
        raise DamagedSourceError(
            f"{file.name} has several arrays {names.most_common(1)[0][0]!r}; write each name once"
        )
    return arrays


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

    def __init__(self, file: Path, name: str, there: Mapping[str, zipfile.ZipInfo], limits: Limits) -> None:
        if name not in there:
            raise DamagedSourceError(
                f"{file.name} has no array {name!r} (`images:` or `labels:` names it); {suggest(name, there)}"
            )
        self.file, self.name, self._member = file, name, there[name]
        if self._member.compress_type not in _METHODS:
            raise DamagedSourceError(
                f"array {name!r} of {file.name} is compressed by method {self._member.compress_type},"
                " expected stored or deflated, as numpy writes it"
            )
        with self._opened() as stream:
            self.shape, self._is_fortran, self.dtype = _read_header(stream)
            size = self._member.file_size - stream.tell()
        is_possible = bool(self.shape) and self.shape[0] >= 0 and min(self.shape[1:], default=1) > 0
        if not is_possible or size != prod(self.shape) * self.dtype.itemsize:
            raise DamagedSourceError(
                f"array {name!r} of {file.name} has {size} bytes for {self.dtype} {self.shape}"
                if self.shape
                else f"array {name!r} of {file.name} is a single number, expected one entry for each image"
            )
        limits.require_stimuli(self.shape[0], f"array {name!r} of {file.name}")
        limits.require_bytes(self._row_bytes(), f"a row of array {name!r} of {file.name}")

    def blocks(self) -> "Iterator[np.ndarray]":
        """Yield the array some rows at a time.

        An array in Fortran's order is first unpacked to a temporary file, as its rows are not contiguous.
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

        free = shutil.disk_usage(tempfile.gettempdir()).free
        if free < self._member.file_size:
            raise DamagedSourceError(
                f"array {self.name!r} of {self.file.name} is in Fortran's order and takes"
                f" {self._member.file_size:,} bytes in {tempfile.gettempdir()}, which has {free:,} free; save"
                " it in C's order, or set TMPDIR"
            )
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
        except (*_BAD, MemoryError, RecursionError) as problem:
            raise DamagedSourceError(
                f"array {self.name!r} of {self.file.name} cannot be read: {problem}"
            ) from problem


def _read_header(stream: IO[bytes]) -> "tuple[tuple[int, ...], bool, np.dtype[Any]]":
    """Return shape, whether in Fortran's order, and type; the stream is then at the first value."""
    from numpy.lib import format as npy

    start = io.BytesIO(stream.read(_HEADER_BYTES))  # no more, whatever length the header claims
    try:
        read = npy.read_array_header_1_0 if npy.read_magic(start) == (1, 0) else npy.read_array_header_2_0
        shape, is_fortran, dtype = read(start)
    except Exception as problem:  # the header is a literal of Python, which can be wrong in any way
        raise UserError(f"its header is damaged: {problem}") from problem
    if dtype.hasobject:
        raise UserError("it holds objects of Python, which would need allow_pickle, and that runs code")
    stream.seek(start.tell())
    return shape, is_fortran, dtype
