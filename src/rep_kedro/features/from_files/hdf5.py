"""Datasets of an HDF5 file as arrays; what a small file may claim or unpack is bounded before it is read."""

import zlib
from collections.abc import Mapping
from itertools import product
from math import ceil, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rep_kedro.errors import UserError
from rep_kedro.features.from_files.stored_arrays import Sliced, StoredArray, kind_of, rows_per_block

if TYPE_CHECKING:
    import numpy as np

_TEXTS_AT_ONCE = 64  # of texts of any length, each of which may be as large as the file
_SPARE_BYTES = 1024  # that a filter may add to a chunk that it cannot make smaller
_CHECKSUM_BYTES = 4
_PIECE_BYTES = 1 << 20
_MOST_PARTS = 10_000  # groups and datasets; the library finds each by following its path from the root
_DEEPEST = 32
_GZIP, _LZF = 1, 32000  # numbers that the format gives to filters
_FILTERS = {_GZIP: "gzip", 2: "shuffle", 3: "fletcher32", _LZF: "lzf"}
_LZF_RATIO = 89  # a reference of three bytes repeats at most 264


def open_datasets(path: Path, limit_bytes: int) -> Mapping[str, StoredArray]:
    """Return the datasets of a file by name; links are named, and followed nowhere.

    Raises:
        UserError: If the library that reads the format is not installed, or the file has too many parts.
    """
    try:
        import h5py
    except ImportError as problem:
        raise UserError(
            "it is an HDF5 file, which needs the extra hdf5: pip install 'rep_kedro[hdf5]'"
        ) from problem
    file, found = h5py.File(path, "r"), dict[str, StoredArray]()

    def note(key: str, part: Any) -> None:
        if isinstance(part, h5py.Dataset):
            text = h5py.check_string_dtype(part.dtype)
            shape = part.shape or ()
            n_rows = rows_per_block(shape, part.dtype.itemsize)
            if text is not None and text.length is None:
                n_rows = _TEXTS_AT_ONCE
            elif part.chunks:  # a chunk is unpacked once for each time that a row of it is read
                n_rows = max(n_rows // part.chunks[0], 1) * part.chunks[0]
            kind = _kind_of_dataset(part, limit_bytes, is_text=text is not None)
            values = part if text is None else part.asstr("utf-8")
            found[key] = Sliced(shape, kind, _Inflated(part, values) if part.chunks else values, n_rows)

    links = _links_of(file)
    file.visititems(note)  # follows no link
    for key in links:
        found[key] = Sliced((), f"a link to {file.get(key, getlink=True).path}", None)
    return found


def _links_of(file: Any) -> list[str]:
    """Return the names of links that are soft or to other files; no part is opened.

    Raises:
        UserError: If parts are too many, or too deep in each other, to be found in reasonable time.
    """
    import h5py

    soft, n_parts = list[bytes](), 0

    def note(name: bytes, link: Any) -> str | None:
        nonlocal n_parts
        n_parts += 1
        if link.type != h5py.h5l.TYPE_HARD:
            soft.append(name)
        try:
            name.decode()
        except UnicodeDecodeError:
            return f"a part named {name!r}, which is no UTF-8"
        if n_parts > _MOST_PARTS:
            return f"more than {_MOST_PARTS:,} groups and datasets"
        return f"groups that are more than {_DEEPEST} deep" if name.count(b"/") > _DEEPEST else None

    if why := file.id.links.visit(note, info=True):
        raise UserError(f"it has {why}; write the arrays that are features to a file of their own")
    return [name.decode() for name in soft]


def _kind_of_dataset(part: Any, limit_bytes: int, *, is_text: bool) -> str:
    """Return the kind of the values of a dataset, which must be in the file itself, all of them."""
    if part.shape is None:
        return "nothing"
    if part.is_virtual:
        return "views of other datasets"
    if n_files := part.id.get_create_plist().get_external_count():
        return f"values of {n_files} other files"
    kind = kind_of(part.dtype)
    kind = "text" if is_text and kind == str(part.dtype) else kind
    if kind not in {"number", "text"}:
        return kind
    return (_flaw_of_chunks(part, limit_bytes) if part.chunks else _flaw_of_values(part)) or kind


def _flaw_of_chunks(part: Any, limit_bytes: int) -> str | None:
    n_chunks = prod(ceil(side / step) for side, step in zip(part.shape, part.chunks, strict=True))
    chunk_bytes = _chunk_bytes(part)
    filters = _filters(part)
    n_written, stored_bytes = part.id.get_num_chunks(), part.id.get_storage_size()
    if n_written < n_chunks:
        return f"{n_written:,} of {n_chunks:,} chunks, the others were never written"
    if too_large := _too_large(part, chunk_bytes, limit_bytes):
        return too_large
    if stored_bytes > n_written * (chunk_bytes + _SPARE_BYTES):
        return f"chunks that are larger than their {chunk_bytes:,} bytes"
    unknown = [str(number) for number in filters if number not in _FILTERS]
    if unknown or sum(number in {_GZIP, _LZF} for number in filters) > 1:
        known = ", ".join(_FILTERS.values())
        return f"chunks under filters {filters}, whose size has no bound (known: {known}, one compression)"
    if _LZF in filters and _LZF_RATIO * chunk_bytes > limit_bytes:
        return f"chunks of {chunk_bytes:,} bytes under lzf, too large for limit_bytes ({limit_bytes:,})"
    return None


def _too_large(part: Any, chunk_bytes: int, limit_bytes: int) -> str | None:
    """Return what takes too much memory: a chunk, or the rows that a chunk has values of."""
    n_rows = min(part.chunks[0], part.shape[0])
    rows_bytes = n_rows * prod(part.shape[1:]) * part.dtype.itemsize
    if chunk_bytes > limit_bytes:
        return f"chunks of {chunk_bytes:,} bytes (limit_bytes is {limit_bytes:,})"
    if rows_bytes > limit_bytes:
        return f"chunks of {n_rows:,} rows, which take {rows_bytes:,} bytes (limit_bytes is {limit_bytes:,})"
    return None


def _chunk_bytes(part: Any) -> int:
    if part.dtype.hasobject:  # texts of any length: length, address and index in the heap of the file
        address_bytes, _ = part.file.id.get_create_plist().get_sizes()
        return int(prod(part.chunks) * (4 + address_bytes + 4))
    return int(prod(part.chunks) * part.dtype.itemsize)


def _filters(part: Any) -> list[int]:
    plist = part.id.get_create_plist()
    return [plist.get_filter(place)[0] for place in range(plist.get_nfilters())]


class _Inflated:
    """Rows of a dataset whose chunks, where gzip made them, are inflated here first, a piece at a time.

    The library takes whatever memory a chunk inflates to, and ignores what is more than a chunk.
    """

    def __init__(self, part: Any, values: Any) -> None:
        self._part, self._values = part, values

    def __getitem__(self, rows: slice) -> "np.ndarray[Any, Any]":
        """Return some rows.

        Raises:
            UserError: If a chunk is larger than the dataset's chunks.
        """
        filters = _filters(self._part)
        if _GZIP in filters:
            steps, chunk_bytes = self._part.chunks, _chunk_bytes(self._part)
            stops = (min(rows.stop, self._part.shape[0]), *self._part.shape[1:])
            firsts = (rows.start // steps[0] * steps[0], *[0] * (len(steps) - 1))
            for offset in product(*map(range, firsts, stops, steps)):
                _require_size(self._part, offset, chunk_bytes, 1 << filters.index(_GZIP))
        found: np.ndarray[Any, Any] = self._values[rows]
        return found


def _require_size(part: Any, offset: tuple[int, ...], chunk_bytes: int, gzip_is_off: int) -> None:
    n_bytes = part.id.get_chunk_info_by_coord(offset).size
    if n_bytes <= chunk_bytes + _SPARE_BYTES:
        skipped, packed = part.id.read_direct_chunk(offset)
        if skipped & gzip_is_off:
            return
        n_bytes = _inflated_bytes(packed, chunk_bytes + _CHECKSUM_BYTES)
    if n_bytes not in {chunk_bytes, chunk_bytes + _CHECKSUM_BYTES}:
        raise UserError(
            f"the chunk at {offset} has {'more' if n_bytes > chunk_bytes else 'less'} than the"
            f" {chunk_bytes:,} bytes of a chunk; write the file again"
        )


def _inflated_bytes(packed: bytes, most: int) -> int:
    """Return the size of what is packed, or any number above the most where it is larger."""
    inflater, n_bytes, piece = zlib.decompressobj(), 0, b"?"
    while piece and n_bytes <= most:
        piece = inflater.decompress(packed, _PIECE_BYTES)
        packed, n_bytes = inflater.unconsumed_tail, n_bytes + len(piece)
    return n_bytes


def _flaw_of_values(part: Any) -> str | None:
    return None if part.id.get_storage_size() or not prod(part.shape) else "values that were never written"
