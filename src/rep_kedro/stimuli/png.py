"""Encode pixels as PNG whose bytes depend on the pixels alone.

The compressed stream of a usual PNG depends on the compression library and its release. Here the pixels are
stored, not compressed: the same file on every machine, quick to read, and the Parquet around it compresses
anyway (better for the differences between neighbours that are stored).
"""

import struct
import zlib
from typing import TYPE_CHECKING

from rep_kedro.errors import UserError

if TYPE_CHECKING:
    import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_STORED_MAX = 65535  # bytes in one stored block of a deflate stream
_Parts = list[bytes | memoryview]
_COLOUR_TYPES = {1: 0, 3: 2}  # channels: grey, RGB


def encode_png(pixels: "np.ndarray") -> bytes:
    """Return a PNG of 8-bit grey or RGB pixels.

    Args:
        pixels: uint8, shape (height, width), (height, width, 1) or (height, width, 3).

    Returns:
        The file's bytes; equal pixels give equal bytes everywhere.

    Raises:
        ValueError: If the array has another type or shape.

    Source: W3C PNG specification (third edition), sections 5 and 9; RFC 1951, section 3.2.4 (stored blocks).
    """
    import numpy as np

    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if (
        pixels.dtype != np.uint8
        or pixels.ndim != 3
        or pixels.shape[2] not in _COLOUR_TYPES
        or 0 in pixels.shape
    ):
        raise ValueError(
            f"a PNG needs uint8 pixels (height, width, 1 or 3), received {pixels.dtype} {pixels.shape}"
        )
    height, width, channels = pixels.shape
    # each row begins with its filter: 1, a pixel is stored as its difference from the one before (modulo 256)
    filtered = np.ones((height, 1 + width * channels), dtype=np.uint8)
    differences = filtered[:, 1:].reshape(height, width, channels)
    differences[:, 0] = pixels[:, 0]
    np.subtract(pixels[:, 1:], pixels[:, :-1], out=differences[:, 1:])
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    stored = _store(filtered.reshape(-1).data)
    parts = [*_chunk(b"IHDR", [header]), *_chunk(b"IDAT", stored), *_chunk(b"IEND", [])]
    return b"".join([SIGNATURE, *parts])


def _chunk(kind: bytes, content: _Parts) -> _Parts:
    """Return a chunk in parts, so that large ones are joined once."""
    checksum = zlib.crc32(kind)
    for part in content:
        checksum = zlib.crc32(part, checksum)
    return [struct.pack(">I", sum(map(len, content))), kind, *content, struct.pack(">I", checksum)]


def _store(content: memoryview) -> _Parts:
    """Return a zlib stream that holds the content uncompressed, in parts."""
    parts: _Parts = [b"\x78\x01"]
    for start in range(0, len(content), _STORED_MAX):
        block = content[start : start + _STORED_MAX]
        is_last = start + _STORED_MAX >= len(content)
        parts += [struct.pack("<BHH", is_last, len(block), len(block) ^ 0xFFFF), block]
    parts.append(struct.pack(">I", zlib.adler32(content)))
    return parts


def require_checksums(encoded: bytes) -> None:
    """Compare the checksum of every chunk of a PNG up to the end mark; decoders skip those of the pixels.

    Raises:
        ValueError: If one differs, or the file ends before its end mark.
    """
    position = len(SIGNATURE)
    while position + 12 <= len(encoded):
        length = int.from_bytes(encoded[position : position + 4], "big")
        end = position + 8 + length
        kind = encoded[position + 4 : position + 8]
        expected = zlib.crc32(memoryview(encoded)[position + 4 : end])
        if int.from_bytes(encoded[end : end + 4], "big") != expected:
            is_cut = end + 4 > len(encoded)
            raise UserError("truncated" if is_cut else f"wrong checksum in PNG chunk {kind.decode('latin1')}")
        if kind == b"IEND":
            return
        position = end + 4
    raise UserError("truncated")


def png_size(encoded: bytes) -> tuple[int, int]:
    """Return width and height in pixels of a PNG, from its header."""
    width, height = struct.unpack(">II", encoded[16:24])
    return width, height
