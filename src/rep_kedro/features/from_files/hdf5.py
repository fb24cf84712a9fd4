"""Datasets of an HDF5 file as arrays; what a small file may claim or unpack is bounded before it is read."""

from collections.abc import Mapping
from math import ceil, prod
from pathlib import Path
from typing import Any

from rep_kedro.errors import UserError
from rep_kedro.features.from_files.formats import Sliced, StoredArray, kind_of, rows_per_block

_TEXTS_AT_ONCE = 64  # of texts of any length, each of which may be as large as the file
_SPARE_BYTES = 1024  # that a filter may add to a chunk that it cannot make smaller


def open_datasets(path: Path, limit_bytes: int) -> Mapping[str, StoredArray]:
    """Return the datasets of a file by name; links are named, and followed nowhere.

    Args:
        path: The file.
        limit_bytes: Most memory that a chunk may take.

    Raises:
        UserError: If the library that reads the format is not installed.
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
            found[key] = Sliced(
                shape,
                _kind_of_dataset(part, limit_bytes, is_text=text is not None),
                part if text is None else part.asstr("utf-8"),
                n_rows,
            )

    def note_link(key: str, link: Any) -> None:
        if not isinstance(link, h5py.HardLink):
            found[key] = Sliced((), f"a link to {link.path}", None)

    file.visititems(note)  # follows no link
    file.visititems_links(note_link)
    return found


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
    chunk_bytes = prod(part.chunks) * part.dtype.itemsize
    n_written, stored_bytes = part.id.get_num_chunks(), part.id.get_storage_size()
    if n_written < n_chunks:
        return f"{n_written:,} of {n_chunks:,} chunks, the others were never written"
    if chunk_bytes > limit_bytes:
        return f"chunks of {chunk_bytes:,} bytes (limit_bytes is {limit_bytes:,})"
    if stored_bytes > n_written * (chunk_bytes + _SPARE_BYTES):
        return f"chunks that are larger than their {chunk_bytes:,} bytes"
    return None


def _flaw_of_values(part: Any) -> str | None:
    return None if part.id.get_storage_size() or not prod(part.shape) else "values that were never written"
