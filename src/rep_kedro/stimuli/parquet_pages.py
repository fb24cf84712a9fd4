"""How large the pages of a Parquet file say they are, read before the library takes memory for them.

The library allocates what the header of a page announces, up to 2 GB, whatever the file's directory says.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from rep_kedro.stimuli.limits import Limits
from rep_kedro.stimuli.record import DamagedSourceError

_UNPACKED, _PACKED = 2, 3  # fields of a page's header: bytes
_KINDS = (5, 7, 8)  # fields of a page's header: what a page of data, a dictionary, data of version 2 holds
_DICTIONARY = 7
_N_VALUES = 1  # field of each of these
_BYTES_PER_VALUE = 16  # the library keeps a view of each value of a page
_HEADER_BYTES = (1 << 10, 1 << 16, 1 << 24)  # read so many, and more if they do not suffice
_MAX_DEPTH = 8

Fields = dict[int, Any]


def require_small_pages(file: Path, metadata: Any, columns: Sequence[str], limits: Limits) -> int:
    """Check every page of some columns against the limits.

    Args:
        file: The Parquet file.
        metadata: Its directory, as pyarrow reads it.
        columns: Names of columns at the top.
        limits: No page may unpack to more than one record.

    Returns:
        Bytes of the largest page, unpacked; no single value is larger.

    Raises:
        TooLargeError: If a page exceeds the limits.
        DamagedSourceError: If a header cannot be read.
    """
    largest = 1
    with file.open("rb") as stream:
        for group in range(metadata.num_row_groups):
            for index in range(metadata.num_columns):
                chunk = metadata.row_group(group).column(index)
                if any(f"{chunk.path_in_schema}.".startswith(f"{name}.") for name in columns):
                    for n_bytes, n_values in _pages(stream, chunk, file.name):
                        what = f"a page of column {chunk.path_in_schema!r} of {file.name}"
                        limits.require_bytes(max(n_bytes, n_values * _BYTES_PER_VALUE), what)
                        largest = max(largest, n_bytes)
    return largest


def _pages(stream: IO[bytes], chunk: Any, name: str) -> Iterator[tuple[int, int]]:
    """Yield bytes and number of values of each page of a column in one group of rows."""
    position: int = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < (chunk.dictionary_page_offset or 0) < position:
        position = chunk.dictionary_page_offset
    end, left = position + chunk.total_compressed_size, chunk.num_values
    while left > 0 and position < end:
        header, n_header_bytes = _read_header(stream, position, name)
        unpacked, packed = header.get(_UNPACKED, -1), header.get(_PACKED, -1)
        kind = next((field for field in _KINDS if isinstance(header.get(field), dict)), None)
        n_values = header[kind].get(_N_VALUES, -1) if kind else 0
        if not all(type(number) is int and number >= 0 for number in (unpacked, packed, n_values)):
            raise DamagedSourceError(f"{name} is damaged: a page has an impossible header")
        yield unpacked, n_values
        left -= 0 if kind == _DICTIONARY else n_values
        position += n_header_bytes + packed


def _read_header(stream: IO[bytes], position: int, name: str) -> tuple[Fields, int]:
    """Return the fields of a page's header and how many bytes it takes."""
    for n_bytes in _HEADER_BYTES:
        stream.seek(position)
        reader = _CompactReader(stream.read(n_bytes))
        try:
            return reader.read_fields(), reader.position
        except IndexError:
            if len(reader.content) < n_bytes:
                break
        except ValueError as problem:
            raise DamagedSourceError(f"{name} is damaged: {problem}") from problem
    raise DamagedSourceError(f"{name} is truncated or damaged: the header of a page has no end")


class _CompactReader:
    """Reads Thrift's compact protocol.

    Raises IndexError where the content ends too early, ValueError where it has another form.

    Source: Apache Thrift, doc/specs/thrift-compact-protocol.md.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.position = 0

    def read_fields(self, depth: int = 0) -> Fields:
        """Return the fields of a structure by number; lists and maps are skipped."""
        if depth > _MAX_DEPTH:
            raise ValueError("the header of a page is nested too deeply")
        fields: Fields = {}
        number = 0
        while (start := self._byte()) & 0xF:
            number = number + (start >> 4) if start >> 4 else self._signed()
            fields[number] = self._value(start & 0xF, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in {1, 2}:
            return kind == 1
        if kind in {4, 5, 6}:
            return self._signed()
        if kind == 12:
            return self.read_fields(depth + 1)
        if kind in {9, 10}:
            return self._skip_list(depth)
        widths = {3: 1, 7: 8}
        if kind not in {*widths, 8}:
            raise ValueError(f"the header of a page has a field of the unknown type {kind}")
        self._skip(widths.get(kind) or self._number())
        return None

    def _skip_list(self, depth: int) -> None:
        start = self._byte()
        for _ in range(self._number() if start >> 4 == 0xF else start >> 4):
            if start & 0xF in {1, 2}:  # in a list a truth value takes a byte
                self._byte()
            else:
                self._value(start & 0xF, depth + 1)

    def _skip(self, n_bytes: int) -> None:
        self.position += n_bytes
        if self.position > len(self.content):
            raise IndexError

    def _byte(self) -> int:
        self.position += 1
        return self.content[self.position - 1]

    def _number(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ValueError("the header of a page has a number of more than 64 bits")

    def _signed(self) -> int:
        value = self._number()
        return value >> 1 ^ -(value & 1)
