"""AVIF, HEIC and JPEG 2000: which of them a file is, what reads it, and sizes that are announced twice.

Pillow reads AVIF and JPEG 2000 where it was built with their libraries, as its wheels are; HEIC takes the
plugin ``pillow-heif`` (extra ``heic``).
"""

from typing import IO, TYPE_CHECKING, Any, NamedTuple

from rep_kedro.errors import UserError
from rep_kedro.stimuli.limits import Limits

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

INSTALL_HEIC = 'pip install -c constraints.txt -e ".[heic]"'
_AVIF = frozenset({b"avif", b"avis"})
_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"})
_JP2_BOX = b"\0\0\0\x0cjP  \r\n\x87\n"
_CODESTREAM = b"\xff\x4f\xff\x51"
_LONGEST_BRANDS = 1 << 10
_FEATURES = {"AVIF": "avif", "JPEG 2000": "jpg_2000"}


class Codestream(NamedTuple):
    """What the header of a JPEG 2000 codestream says.

    Attributes:
        width: In pixels.
        height: In pixels.
        bits: Of the samples of each channel.
        is_signed: Whether a channel holds numbers with a sign.
    """

    width: int
    height: int
    bits: tuple[int, ...]
    is_signed: bool


def later_format(encoded: bytes) -> str | None:
    """Return ``AVIF``, ``HEIC`` or ``JPEG 2000``; None for any other content.

    Source: ISO/IEC 14496-12, section 4.3 (brands); ISO/IEC 15444-1, annex A.5 and I.5.1.
    """
    if encoded.startswith((_JP2_BOX, _CODESTREAM)):
        return "JPEG 2000"
    if encoded[4:8] != b"ftyp":
        return None
    size = min(int.from_bytes(encoded[:4], "big"), _LONGEST_BRANDS)
    brands = {encoded[8:12], *(encoded[at : at + 4] for at in range(16, size, 4))}
    if brands & _AVIF:
        return "AVIF"
    return "HEIC" if brands & _HEIC else None


def require_reader(kind: str) -> None:
    """Raise if nothing that is installed reads a format; the message says what to install."""
    from importlib.util import find_spec

    from PIL import features

    if kind == "HEIC" and find_spec("pillow_heif") is None:
        raise UserError(f"a HEIC image, which needs the extra heic: {INSTALL_HEIC}")
    if kind in _FEATURES and not features.check(_FEATURES[kind]):
        raise UserError(
            f"{kind}, which this build of Pillow does not read; its wheels on the package index do"
        )


def open_heic(stream: IO[bytes]) -> "ImageFile":
    """Return the primary image of a HEIC file, not loaded."""
    import pillow_heif

    reader: Any = pillow_heif.HeifImageFile
    image: ImageFile = reader(stream)
    return image


def require_plain_codestream(encoded: bytes, limits: Limits) -> None:
    """Raise where JPEG 2000 holds what is not read exactly, or a codestream is larger than it may be.

    Raises:
        TooLargeError: If a header announces more pixels than an image may have.
        UserError: If samples have a sign, or colours more than 8 bits.
    """
    for found in codestreams(encoded):
        limits.require_pixels(found.width, found.height, "the image")
        if found.is_signed or max(found.bits) > 16:
            raise UserError("JPEG 2000 with a sign or more than 16 bits, which has no fixed range")
        if len(found.bits) > 1 and max(found.bits) > 8:
            raise UserError(
                "JPEG 2000 in colour with more than 8 bits is not read exactly; store grey or PNG"
            )


def codestreams(encoded: bytes) -> list[Codestream]:
    """Return what each header of a codestream in a file says.

    Source: ISO/IEC 15444-1, annex A.5.1 (SIZ).

    Raises:
        UserError: If there is none, or it is cut short.
    """
    found = []
    at = encoded.find(_CODESTREAM)
    while at >= 0:
        numbers = [int.from_bytes(encoded[at + place : at + place + 4], "big") for place in (8, 12, 16, 20)]
        n_channels = int.from_bytes(encoded[at + 40 : at + 42], "big")
        samples = encoded[at + 42 : at + 42 + 3 * n_channels : 3]
        if not 0 < n_channels <= 4 or len(samples) < n_channels:
            raise UserError(f"JPEG 2000 with {n_channels} channels, 1 to 4 are read")
        bits = tuple((sample & 0x7F) + 1 for sample in samples)
        width, height = max(0, numbers[0] - numbers[2]), max(0, numbers[1] - numbers[3])
        found.append(Codestream(width, height, bits, any(sample & 0x80 for sample in samples)))
        at = encoded.find(_CODESTREAM, at + 4)
    if not found:
        raise UserError("JPEG 2000 without a codestream")
    return found


def declared_maximum(encoded: bytes) -> int | None:
    """Return the value of full brightness as the library gives it for grey of 9 to 15 bits; else None.

    The library shifts such values up to 16 bits.
    """
    bits = codestreams(encoded)[0].bits[0]
    return ((1 << bits) - 1) << (16 - bits) if 8 < bits < 16 else None
