"""The orientation of an image, read from its one tag; all other metadata is ignored."""

import re
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from PIL.Image import Image

_ORIENTATION, _RESOLUTION_UNIT = 0x0112, 0x0128
_UPRIGHT, _NO_UNIT = 1, 1
_SHORT = 3
_WIDTHS = {1: "B", _SHORT: "H", 4: "I"}  # types of whole numbers: byte, short, long
_CARRIERS = {"exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"}
_XMP = re.compile(rb"tiff:Orientation(?:=[\"']|>)([1-8])")


class _Entry(NamedTuple):
    """One entry of the first directory; its value where it is one whole number."""

    tag: int
    value: int | None
    position: int
    packing: str  # of type, count and a short value, behind the tag


def turn_upright(image: "Image", orientation: int) -> "Image":
    """Return a loaded image as it is meant to be seen.

    Source: EXIF 2.32, tag 0x0112; values other than 2 to 8 mean upright.
    """
    if orientation == _UPRIGHT:
        return image
    from PIL.Image import Transpose

    method = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }.get(orientation)
    return image if method is None else image.transpose(method)


def read_orientation(image: "Image") -> int:
    """Return the orientation, 1 to 8, that a loaded image carries in EXIF, or where EXIF has none, in XMP."""
    if _CARRIERS.isdisjoint(image.info):
        return _UPRIGHT
    found = _orientation_of(_exif_of(image))
    if found is None:
        xmp = image.info.get("XML:com.adobe.xmp") or image.info.get("xmp") or b""
        match = _XMP.search(xmp.encode() if isinstance(xmp, str) else bytes(xmp))
        found = int(match[1]) if match else _UPRIGHT
    return found


def set_upright(tiff: bytes) -> tuple[bytes, int | None]:
    """Return a TIFF file whose tag says upright, and what the tag said; None if there is no such tag.

    The decoder turns TIFF files itself, and fails to where other metadata are broken. The unit of the
    resolution goes too, because a resolution in text with a unit stops the decoder.
    """
    orientation = _orientation_of(tiff)
    changed = bytearray(tiff)
    for entry in _entries(tiff):
        if entry.tag in {_ORIENTATION, _RESOLUTION_UNIT}:
            value = _UPRIGHT if entry.tag == _ORIENTATION else _NO_UNIT
            struct.pack_into(entry.packing, changed, entry.position + 2, _SHORT, 1, value)
    return bytes(changed), orientation


def _exif_of(image: "Image") -> bytes:
    exif = image.info.get("exif") or b""
    if not exif and isinstance(profile := image.info.get("Raw profile type exif"), str):
        digits = "".join(profile.split("\n")[3:])
        exif = bytes.fromhex(digits) if re.fullmatch(r"(?:[0-9a-fA-F]{2})*", digits) else b""
    return exif.removeprefix(b"Exif\0\0") if isinstance(exif, bytes) else b""


def _orientation_of(tiff: bytes) -> int | None:
    values = [entry.value for entry in _entries(tiff) if entry.tag == _ORIENTATION]
    if not values:
        return None
    value = values[-1]
    return value if value is not None and 1 <= value <= 8 else _UPRIGHT


def _entries(tiff: bytes) -> Iterator[_Entry]:
    """Yield the readable entries of the first directory of a TIFF file, or of EXIF, which is laid out as one.

    Source: TIFF 6.0, section 2; BigTIFF (version 43) has wider counts and offsets.
    """
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return
    is_big = b"\x2b" in tiff[2:4]
    wide, count_packing, entry_bytes, value_at = ("Q", "Q", 20, 12) if is_big else ("I", "H", 12, 8)
    try:
        start = struct.unpack_from(order + wide, tiff, 8 if is_big else 4)[0]
        (n_entries,) = struct.unpack_from(order + count_packing, tiff, start)
        start += struct.calcsize(count_packing)
        for number in range(min(n_entries, len(tiff) // entry_bytes)):
            at = start + number * entry_bytes
            tag, kind, count = struct.unpack_from(order + "HH" + wide, tiff, at)
            found = struct.unpack_from(order + _WIDTHS.get(kind, "I"), tiff, at + value_at)
            value = found[0] if kind in _WIDTHS and count == 1 else None
            yield _Entry(tag, value, at, order + "H" + wide + "H")
    except (struct.error, OverflowError):
        return  # the directory is cut short: what was read counts
