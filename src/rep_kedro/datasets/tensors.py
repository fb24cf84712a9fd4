"""Named tensors in one safetensors file, read by memory mapping."""

import json
import math
import os
import struct
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rep_kedro.datasets.member import (
    HEADER_KEY,
    Header,
    MemberDataset,
    MemberHandle,
    header_from,
    unreadable,
)
from rep_kedro.datasets.plan import Json
from rep_kedro.datasets.seal import BLANK_SEAL, DamagedMemberError, write_sealed
from rep_kedro.errors import UserError

if TYPE_CHECKING:
    import numpy as np

_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 100_000_000
_METADATA = "__metadata__"
_DTYPES = {
    "U64": "<u8", "I64": "<i8", "F64": "<f8", "F32": "<f4", "U32": "<u4", "I32": "<i4", "F16": "<f2",
    "U16": "<u2", "I16": "<i2", "I8": "|i1", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_ORDER = {name: place for place, name in enumerate(_DTYPES)}  # the library's order: wide types first


@dataclass(frozen=True)
class Tensors:
    """The value of a member: named arrays (numpy or torch) and what the maker says about them.

    Attributes:
        tensors: By name.
        meta: Stored with them.
        journal: What the computation cost, for the journal; no part of the member's bytes. `seconds` where
            these are not what one waited for the value.
    """

    tensors: dict[str, Any]
    meta: dict[str, Json] = field(default_factory=dict)
    journal: dict[str, Json] = field(default_factory=dict)


class TensorsHandle(MemberHandle):
    """Lazy access to the tensors of one file."""

    def __init__(self, path: Path, header: Header, layout: dict[str, Any], start: int) -> None:
        super().__init__(path, header)
        self._layout = layout
        self._start = start
        self._mapped: weakref.ref[np.ndarray[Any, Any]] | None = None

    @property
    def names(self) -> list[str]:
        """The tensors' names, sorted."""
        return sorted(self._layout)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape without reading it."""
        return tuple(self._entry(name)["shape"])

    def tensor(self, name: str) -> "np.ndarray[Any, Any]":
        """Return a tensor as a read-only, memory-mapped numpy array.

        Raises:
            KeyError: If there is no such tensor; the message lists those there are.
            DamagedMemberError: If anything in the file is not what was written.
        """
        import numpy as np

        entry = self._entry(name)
        self.require_whole()
        dtype, shape = np.dtype(_DTYPES[entry["dtype"]]), tuple(entry["shape"])
        if 0 in shape:
            empty = np.empty(shape, dtype)
            empty.flags.writeable = False
            return empty
        begin, end = entry["data_offsets"]
        return self._map()[self._start + begin : self._start + end].view(dtype).reshape(shape)

    def rows(self, name: str, rows: slice) -> "np.ndarray[Any, Any]":
        """Return some rows of a tensor; only they are read."""
        return self.tensor(name)[rows]

    @cached_property
    def n_bytes(self) -> int:
        """Size of all tensors in bytes."""
        return sum(entry["data_offsets"][1] - entry["data_offsets"][0] for entry in self._layout.values())

    def _map(self) -> "np.ndarray[Any, Any]":
        """Map the file once for all arrays in use: each mapping holds a file descriptor."""
        import numpy as np

        mapped = self._mapped() if self._mapped is not None else None
        if mapped is None:
            mapped = np.memmap(self.path, np.uint8, mode="r")
            self._mapped = weakref.ref(mapped)
        return mapped

    def _entry(self, name: str) -> Any:
        if name not in self._layout:
            raise KeyError(f"no tensor {name!r} in {self.path}; there are: {', '.join(self.names)}")
        return self._layout[name]


class TensorsDataset(MemberDataset):
    """Safetensors; a seal and one header entry of sorted JSON; equal content gives equal bytes."""

    suffix: ClassVar[str] = ".safetensors"
    format: ClassVar[str] = "tensors/2"

    def save(self, data: Tensors) -> None:
        """Write the file atomically.

        Raises:
            TypeError: If the data is not a :class:`Tensors`, or a tensor's type has no place in the file.
            ValueError: If the meta is not plain JSON data.
        """
        if not isinstance(data, Tensors):
            raise TypeError(f"{self._key}: expected Tensors, received {type(data).__name__}")
        header = Header(self.format, self._key, self._recipe, data.meta)
        arrays = {name: _to_numpy(name, value) for name, value in data.tensors.items()}
        write_safetensors(self.path, arrays, header)

    @classmethod
    def read_header(cls, path: Path) -> Header:
        """Read and check the header (see :class:`MemberDataset`)."""
        return header_from(_read_layout(path)[0].get(HEADER_KEY), path, cls.format)

    @classmethod
    def open_checked(cls, path: Path) -> TensorsHandle:
        """Return a lazy handle; the file is read once for header and layout."""
        metadata, layout, start = _read_layout(path)
        return TensorsHandle(path, header_from(metadata.get(HEADER_KEY), path, cls.format), layout, start)


def write_safetensors(path: Path, arrays: "Mapping[str, np.ndarray[Any, Any]]", header: Header) -> int:
    """Write arrays atomically, one after another without a copy, with the bytes of the safetensors library.

    The library's ``save_file`` cannot serve here: it writes to a temporary file of its own, which only its
    owner may read (mode 0600) and which nothing sweeps after a kill, and it reports a full disk as a
    ``SafetensorError`` without ``errno``, which does not stop the run.

    Returns:
        The file's size in bytes.

    Raises:
        ValueError: If the header would be larger than readers accept.
    """
    names = sorted(arrays, key=lambda name: (_ORDER[_NAMES[arrays[name].dtype.str]], name))
    layout: dict[str, Any] = {}
    end = 0
    for name in names:
        begin, end = end, end + arrays[name].nbytes
        dtype = _NAMES[arrays[name].dtype.str]
        layout[name] = {"dtype": dtype, "shape": list(arrays[name].shape), "data_offsets": [begin, end]}

    def blocks() -> Iterator[Any]:
        return (arrays[name].reshape(-1).view("u1").data for name in names if arrays[name].size)

    # The seal comes first in the header, so that nothing else in the file is taken for it.
    text_of_header = '{"digest":"' + BLANK_SEAL + '",' + header.to_json().removeprefix("{")
    whole = {_METADATA: {HEADER_KEY: text_of_header}, **layout}
    text = json.dumps(whole, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _LENGTH_BYTES)
    if len(text) > _MAX_HEADER_BYTES:
        raise UserError(f"recipe and meta need {len(text)} bytes, readers accept {_MAX_HEADER_BYTES}")

    def write(partial: Path) -> None:
        with partial.open("wb") as stream:
            stream.write(struct.pack("<Q", len(text)) + text)
            stream.writelines(blocks())

    return write_sealed(path, write)


def _to_numpy(name: Any, value: Any) -> Any:
    """Return a value as a little-endian array in row order, or refuse it."""
    import numpy as np

    if not isinstance(name, str) or name == _METADATA:
        raise TypeError(f"tensor name {name!r} cannot be used; use text other than {_METADATA}")
    if hasattr(value, "detach"):
        dtype = str(value.dtype).removeprefix("torch.")
        if dtype not in np.sctypeDict:
            raise TypeError(
                f"tensor {name!r} has type {dtype}, which numpy does not have; convert it, e.g. to float32"
            )
        value = value.detach().cpu().resolve_conj().resolve_neg().numpy()
    array = np.asarray(value)
    array = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
    if array.dtype.str not in _NAMES:
        allowed = ", ".join(str(np.dtype(dtype)) for dtype in _NAMES)
        raise TypeError(f"tensor {name!r} has type {array.dtype}; allowed are {allowed}")
    return array


def _read_layout(path: Path) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Return a safetensors file's metadata, its tensors' entries, and where the data begins."""
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            length_bytes = stream.read(_LENGTH_BYTES)
            length = struct.unpack("<Q", length_bytes)[0] if len(length_bytes) == _LENGTH_BYTES else None
            if length is None or length > min(_MAX_HEADER_BYTES, size - _LENGTH_BYTES):
                raise DamagedMemberError(f"{path} is truncated or not a safetensors file ({size} bytes)")
            text = stream.read(length)
    except OSError as problem:
        raise unreadable(path, problem) from problem
    start = _LENGTH_BYTES + length
    try:
        layout = json.loads(text)
        metadata = layout.pop(_METADATA, None) or {}
        metadata.get(HEADER_KEY)
        end = _require_layout(layout)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as problem:
        raise DamagedMemberError(f"{path} is not a safetensors file: its header is unreadable") from problem
    if start + end != size:
        raise DamagedMemberError(
            f"{path} is truncated or overlong: {size} bytes where its header says {start + end}"
        )
    return metadata, layout, start


def _require_layout(layout: dict[str, Any]) -> int:
    """Check that tensors follow without gaps, each of the size of its type and shape; return the end."""
    end = 0
    for entry in sorted(layout.values(), key=lambda entry: entry["data_offsets"]):
        begin, following = entry["data_offsets"]
        item_bytes = int(_DTYPES[entry["dtype"]][2:])
        if (
            begin != end
            or following - begin != math.prod(entry["shape"]) * item_bytes
            or min(entry["shape"], default=0) < 0
        ):
            raise ValueError("offsets, types and shapes do not fit")
        end = following
    return int(end)
