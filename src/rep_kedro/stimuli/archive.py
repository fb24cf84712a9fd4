"""Tar archives, plain or compressed, of which no header and no member takes more memory than allowed."""

import bz2
import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from rep_kedro.stimuli.limits import Limits

BROKEN = (tarfile.TarError, EOFError, OSError, ValueError, RecursionError, lzma.LZMAError, zlib.error)
_HEADER_BYTES = 1 << 20  # of extended headers (long names, attributes); the library reads them whole
_UNPACKER_BYTES = 128 << 20  # memory for unpacking xz, whose archives themselves say how much it takes
_READ_BYTES = 1 << 20
_PACKED = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}


class CappedStream(io.RawIOBase):
    """A stream that refuses to read more at once than a header of an archive may have.

    Seeking goes through; contents of members are read with :meth:`read_content`.
    """

    def __init__(self, stream: IO[bytes], limits: Limits) -> None:
        self._stream = stream
        self._limits = limits

    def read(self, size: int = -1) -> bytes:
        """Return bytes of a header."""
        if not 0 <= size <= _HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size:,} bytes, more than {_HEADER_BYTES:,}")
        return self._stream.read(size)

    def read_content(self, member: tarfile.TarInfo) -> bytes:
        """Return the content of a member.

        Raises:
            TooLargeError: If it exceeds the limits.
            tarfile.ReadError: If the archive ends before it.
        """
        self._limits.require_bytes(member.size, "the member")
        position = self._stream.tell()
        self._stream.seek(member.offset_data)
        content = self._stream.read(member.size)
        self._stream.seek(position)
        if len(content) < member.size:
            raise tarfile.ReadError(f"{member.name} has {len(content)} of {member.size} bytes")
        return content

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position."""
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """Return the position."""
        return self._stream.tell()


@contextmanager
def open_archive(file: Path, limits: Limits) -> Iterator[tuple[tarfile.TarFile, CappedStream]]:
    """Open an archive and the stream that its members' contents are read from.

    Raises:
        One of BROKEN: If it is not an archive, or damaged.
    """
    with file.open("rb") as plain:
        start = plain.read(2)
        plain.seek(0)
        unpack: Any = _PACKED.get(start, lambda stream: stream)
        if unpack is lzma.open:
            _require_modest_xz(plain)
        capped = CappedStream(unpack(plain), limits)
        with tarfile.open(fileobj=capped, mode="r:") as archive:
            yield archive, capped


def require_forward(member: tarfile.TarInfo) -> None:
    """Raise if an attribute makes the size of a member negative, for then the library would not advance."""
    if member.size < 0:
        raise tarfile.ReadError(f"{member.name} has a size of {member.size} bytes")


def _require_modest_xz(plain: IO[bytes]) -> None:
    """Unpack an archive once within a limit of memory, and keep nothing."""
    unpacker = lzma.LZMADecompressor(memlimit=_UNPACKER_BYTES)
    while block := plain.read(_READ_BYTES):
        unpacker.decompress(block, _READ_BYTES)
        while not (unpacker.eof or unpacker.needs_input):
            unpacker.decompress(b"", _READ_BYTES)
        if unpacker.eof:
            plain.seek(-len(unpacker.unused_data), io.SEEK_CUR)
            unpacker = lzma.LZMADecompressor(memlimit=_UNPACKER_BYTES)
    plain.seek(0)
