"""Named tensors in one safetensors file, read by memory mapping."""

import json
import struct
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rep_kedro.datasets.atomic import write_bytes_atomically
from rep_kedro.datasets.member import (
    HEADER_KEY,
    DamagedMemberError,
    Header,
    MemberDataset,
    MemberHandle,
    header_from,
)
from rep_kedro.datasets.plan import Json

if TYPE_CHECKING:
    import numpy as np

_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 100_000_000
_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U8": "|u1", "U16": "<u2", "U32": "<u4", "U64": "<u8", "BOOL": "|b1",
}  # fmt: skip


@dataclass(frozen=True)
class Tensors:
    """The value of a member: named arrays (numpy or torch) and what the maker tells about them."""

    tensors: dict[str, Any]
    meta: dict[str, Json] = field(default_factory=dict)


class TensorsHandle(MemberHandle):
    """Lazy access to the tensors of one file."""

    def __init__(self, path: Path, header: Header, layout: dict[str, Any], start: int) -> None:
        super().__init__(path, header)
        self._layout = layout
        self._start = start

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
        """
        import numpy as np

        entry = self._entry(name)
        dtype = np.dtype(_DTYPES[entry["dtype"]])
        shape = tuple(entry["shape"])
        if 0 in shape:
            return np.empty(shape, dtype)
        return np.memmap(
            self.path, dtype, mode="r", offset=self._start + entry["data_offsets"][0], shape=shape
        )

    def rows(self, name: str, rows: slice) -> "np.ndarray[Any, Any]":
        """Return some rows of a tensor; only they are read."""
        return self.tensor(name)[rows]

    @cached_property
    def n_bytes(self) -> int:
        """Size of all tensors in bytes."""
        return sum(entry["data_offsets"][1] - entry["data_offsets"][0] for entry in self._layout.values())

    def _entry(self, name: str) -> Any:
        if name not in self._layout:
            raise KeyError(f"no tensor {name!r} in {self.path}; there are: {', '.join(self.names)}")
        return self._layout[name]


class TensorsDataset(MemberDataset):
    """Safetensors with one header entry of sorted JSON, so that equal content gives equal bytes."""

    suffix: ClassVar[str] = ".safetensors"
    format: ClassVar[str] = "tensors/1"

    def save(self, data: Tensors) -> None:
        """Write the file atomically.

        Raises:
            TypeError: If the data is not a :class:`Tensors`.
        """
        import numpy as np
        from safetensors.numpy import save

        if not isinstance(data, Tensors):
            raise TypeError(f"{self._key}: expected Tensors, received {type(data).__name__}")
        header = Header(self.format, self._key, self._recipe, data.meta)
        arrays = {name: np.ascontiguousarray(_to_numpy(value)) for name, value in data.tensors.items()}
        write_bytes_atomically(self.path, save(arrays, metadata={HEADER_KEY: header.to_json()}))

    @classmethod
    def read_header(cls, path: Path) -> Header:
        """Read and check the header (see :class:`MemberDataset`)."""
        return header_from(json.loads(_read_layout(path)[0].get(HEADER_KEY, "null")), path, cls.format)

    @classmethod
    def open_member(cls, path: Path, header: Header) -> TensorsHandle:
        """Return a lazy handle."""
        _, layout, start = _read_layout(path)
        return TensorsHandle(path, header, layout, start)


def _to_numpy(value: Any) -> Any:
    return value.detach().cpu().numpy() if hasattr(value, "detach") else value


def _read_layout(path: Path) -> tuple[dict[str, str], dict[str, Any], int]:
    """Return a safetensors file's metadata, its tensors' entries, and where the data begins."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        length_bytes = stream.read(_LENGTH_BYTES)
        length = struct.unpack("<Q", length_bytes)[0] if len(length_bytes) == _LENGTH_BYTES else None
        if length is None or length > min(_MAX_HEADER_BYTES, size - _LENGTH_BYTES):
            raise DamagedMemberError(f"{path} is truncated or not a safetensors file ({size} bytes)")
        text = stream.read(length)
    try:
        layout = json.loads(text)
        end = max(
            (entry["data_offsets"][1] for name, entry in layout.items() if name != "__metadata__"), default=0
        )
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise DamagedMemberError(f"{path} is not a safetensors file: its header is unreadable") from problem
    start = _LENGTH_BYTES + length
    if start + end != size:
        raise DamagedMemberError(f"{path} is truncated: {size} bytes where its header tells {start + end}")
    return layout.pop("__metadata__", None) or {}, layout, start
