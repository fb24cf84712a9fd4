"""The messages of an Arrow stream, read before the library takes memory for them.

Each is whole, the last is the end mark, and none unpacks to more than the limits allow.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from rep_kedro.stimuli.limits import Limits
from rep_kedro.stimuli.record import DamagedSourceError

_CONTINUES = 0xFFFFFFFF
_DICTIONARY, _ROWS = 2, 3  # types of messages
_TYPE, _CONTENT, _BODY_BYTES = 1, 2, 3  # fields of a message
_N_ROWS, _BUFFERS, _COMPRESSION = 0, 2, 3  # fields of a batch of rows
_DICTIONARY_ROWS = 1  # field of a dictionary
_BUFFER_BYTES = 16  # offset and length
_NOT_PACKED = -1


def require_small_messages(file: Path, limits: Limits) -> int:
    """Check every message of an Arrow stream against the file's size and the limits.

    Returns:
        Number of rows of the whole stream.

    Raises:
        TooLargeError: If the buffers of a batch unpack to more than one record.
        DamagedSourceError: If a message is cut short, or the end mark is missing or not at
            the end.

    Source: Apache Arrow, Columnar Format 1.5, section "Serialization and Interprocess Communication".
    """
    n_rows, size = 0, file.stat().st_size
    with file.open("rb") as stream:
        try:
            for table, message_type in _messages(stream, size, limits, file.name):
                if message_type == _ROWS:
                    n_rows += table.number(_N_ROWS, "q")
                _require_small_buffers(stream, table, limits, file.name)
        except (struct.error, ValueError) as problem:
            if isinstance(problem, DamagedSourceError):
                raise
            raise DamagedSourceError(
                f"{file.name} is damaged: a message has an impossible header"
            ) from problem
    return n_rows


def _messages(stream: IO[bytes], size: int, limits: Limits, name: str) -> "Iterator[tuple[_FlatTable, int]]":
    """Yield the batches and dictionaries of a stream and their types; the stream is then at their bodies."""
    while True:
        start = stream.read(8)
        if len(start) < 8:
            raise DamagedSourceError(f"{name} is truncated: it has no end mark")
        marker, n_bytes = struct.unpack("<Ii", start)
        if marker != _CONTINUES or n_bytes < 0:
            raise DamagedSourceError(f"{name} is truncated or damaged, or not an Arrow stream")
        if n_bytes == 0:
            break
        limits.require_bytes(n_bytes, f"the header of a message of {name}")
        message = _FlatTable(stream.read(n_bytes))
        body, body_bytes = stream.tell(), message.number(_BODY_BYTES, "q")
        if not 0 <= body_bytes <= size - body:
            raise DamagedSourceError(f"{name} is truncated: a message asks for {body_bytes:,} bytes")
        message_type = message.number(_TYPE, "B")
        if message_type in {_DICTIONARY, _ROWS}:
            content = message.table(_CONTENT)
            yield (content if message_type == _ROWS else content.table(_DICTIONARY_ROWS)), message_type
        stream.seek(body + body_bytes)
    if stream.tell() != size:
        raise DamagedSourceError(f"{name} has {size - stream.tell():,} bytes behind its end mark")


def _require_small_buffers(stream: IO[bytes], rows: "_FlatTable", limits: Limits, name: str) -> None:
    if not rows.has(_COMPRESSION):
        return
    body, unpacked = stream.tell(), 0
    for offset, n_bytes in rows.pairs(_BUFFERS):
        if n_bytes >= 8:
            stream.seek(body + offset)
            (announced,) = struct.unpack("<q", stream.read(8))
            unpacked += n_bytes if announced == _NOT_PACKED else announced
            if announced < _NOT_PACKED:
                raise DamagedSourceError(f"{name} is damaged: a buffer asks for {announced:,} bytes")
            limits.require_bytes(unpacked, f"a batch of rows of {name}")


class _FlatTable:
    """A table of FlatBuffers; reading outside of the content raises struct.error or ValueError.

    Source: FlatBuffers, "FlatBuffer Internals".
    """

    def __init__(self, content: bytes, position: int | None = None) -> None:
        self._content = content
        self._position = self._unpack("I", 0) if position is None else position
        self._fields = self._position - self._unpack("i", self._position)

    def has(self, field: int) -> bool:
        """Return whether a field is there."""
        return self._place(field) is not None

    def number(self, field: int, packing: str) -> int:
        """Return a number; 0 where the field is not there."""
        place = self._place(field)
        return 0 if place is None else self._unpack(packing, place)

    def table(self, field: int) -> "_FlatTable":
        """Return a table within this one."""
        place = self._place(field)
        if place is None:
            raise ValueError(f"field {field} is missing")
        return _FlatTable(self._content, place + self._unpack("I", place))

    def pairs(self, field: int) -> Iterator[tuple[int, int]]:
        """Yield the members of a vector of pairs of long numbers."""
        place = self._place(field)
        if place is None:
            return
        place += self._unpack("I", place)
        for number in range(self._unpack("I", place)):
            at = place + 4 + number * _BUFFER_BYTES
            yield self._unpack("q", at), self._unpack("q", at + 8)

    def _place(self, field: int) -> int | None:
        slot = 4 + 2 * field
        if slot + 2 > self._unpack("H", self._fields):
            return None
        offset = self._unpack("H", self._fields + slot)
        return self._position + offset if offset else None

    def _unpack(self, packing: str, position: int) -> int:
        if position < 0:
            raise ValueError(f"position {position} is before the content")
        value: int = struct.unpack_from(f"<{packing}", self._content, position)[0]
        return value
