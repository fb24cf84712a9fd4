"""One encoded image to pixels: the only decoder, for checks and for networks.

Rules, in this order: the first frame counts; the orientation is applied; 16 bits per channel become 8 (see
``wide_values``); transparent pixels are put on white; CMYK, palette and the like become RGB. Colour
profiles are not applied.
"""

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

from rep_kedro.errors import UserError
from rep_kedro.stimuli.later_formats import (
    declared_maximum,
    later_format,
    open_heic,
    require_plain_codestream,
    require_reader,
)
from rep_kedro.stimuli.limits import DEFAULT_LIMITS, Limits, TooLargeError
from rep_kedro.stimuli.orientation import read_orientation, set_upright, turn_upright
from rep_kedro.stimuli.png import SIGNATURE, require_checksums
from rep_kedro.stimuli.stored_values import (
    palette_size,
    require_palette_colours,
    require_portable_range,
    set_transparent_value,
)
from rep_kedro.stimuli.wide_values import DECLARED_MAXIMUM, Narrowed, ValueRange, is_wide, narrow

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF", "JPEG2000")
_COUNTED_LATE = {"GIF", "TIFF"}  # formats in which the number of frames is known only at the end
_BACKGROUND = (255, 255, 255, 255)
_PIXELS_AT_A_TIME = 1 << 20
_LARGE_PIXELS = 16 << 20  # larger images are decoded one at a time, whatever the number of threads
_SCAN, _MAX_SCANS = b"\xff\xda", 100  # progressive images have about ten; empty ones take minutes
_TIFF_STARTS = (b"II\x2a\0", b"MM\0\x2a", b"II\x2b\0", b"MM\0\x2b", b"II\0\x2a", b"MM\x2a\0")
_TILE_WIDTH, _TILE_LENGTH, _SAMPLE_FORMAT = 322, 323, 339
_SIGNED = 2
_NO_RANGE = "pixels are {}, which have no fixed range; store 8 or 16 bits, or set value_window"


class UnreadableImageError(UserError):
    """An image that cannot be decoded; the message says why."""


class DecodedImage(NamedTuple):
    """Pixels of an image.

    Attributes:
        image: Mode RGB or L, loaded, upright.
        narrowed: What was found where the file has more than 8 bits per channel, else None.
        has_more_frames: Whether others are left out; None where that takes reading on (see
            :func:`has_more_frames`).
    """

    image: "Image"
    narrowed: Narrowed | None
    has_more_frames: bool | None


def decode_image(
    encoded: bytes, *, limits: Limits = DEFAULT_LIMITS, value_range: ValueRange | None = None
) -> DecodedImage:
    """Return one image as pixels, by the rules of this module.

    Args:
        encoded: The image's file.
        limits: Larger images are refused before memory is taken for them.
        value_range: Values that become black and white in images of more than 8 bits; None means 0 to 65,535.

    Raises:
        UnreadableImageError: Whatever is wrong with the image.
    """
    with QUIET, _reasons():
        image, orientation = _open(encoded, limits)
        is_large = image.width * image.height > _LARGE_PIXELS
        with _ONE_LARGE if is_large else nullcontext():
            narrowed = None
            if is_wide(image, value_range):
                narrowed = narrow(image, lambda: _open(encoded, limits)[0], value_range)
            n_colours = palette_size(image)
            image.load()
            require_palette_colours(image, n_colours)
            if orientation is None:
                orientation = read_orientation(image)
            flat = flatten_image(narrowed.image if narrowed else image)
        is_animated = None if image.format in _COUNTED_LATE else getattr(image, "is_animated", False)
        return DecodedImage(turn_upright(flat, orientation), narrowed, is_animated)


def has_more_frames(encoded: bytes) -> bool:
    """Return whether an image that can be decoded has more than one frame."""
    from PIL import Image

    with QUIET:
        try:
            return bool(getattr(Image.open(io.BytesIO(encoded), formats=_FORMATS), "is_animated", False))
        except Exception:  # the rest may be damaged; it is not used
            return False


def flatten_image(image: "Image") -> "Image":
    """Return an image in mode RGB or L, by the rules of this module.

    Raises:
        UnreadableImageError: If its values have no fixed range.
    """
    if image.mode.startswith("I;16"):
        image = narrow(image, lambda: image, None).image
    if image.mode in {"I", "F"}:
        kind = "floating-point numbers" if image.mode == "F" else "whole numbers with a sign or of 32 bits"
        raise UnreadableImageError(_NO_RANGE.format(kind))
    if image.has_transparency_data:
        image = _put_on_white(image)
    return image if image.mode in {"RGB", "L"} else image.convert("RGB")


def _open(encoded: bytes | None, limits: Limits) -> "tuple[Image, int | None]":
    """Return an image, not loaded, and its orientation where that has to be read beforehand."""
    if not encoded:
        raise UnreadableImageError("no bytes")
    limits.require_bytes(len(encoded), "the file")
    orientation = None
    if encoded.startswith(SIGNATURE):
        require_checksums(encoded)
    elif encoded.startswith(_TIFF_STARTS):
        encoded, orientation = set_upright(encoded)
    elif size := _webp_size(encoded):
        limits.require_pixels(size[0], size[1], "the image")  # before the library takes memory for its canvas
    image = _open_by_content(encoded, limits)
    limits.require_pixels(image.width, image.height, "the image")
    set_transparent_value(image)
    require_portable_range(image, encoded)
    if image.format == "TIFF":
        _require_plain_tiff(image, limits)
        image.load_end = _do_nothing  # type: ignore[method-assign]  # it would read all metadata
    return image, orientation


def _open_by_content(encoded: bytes, limits: Limits) -> "ImageFile":
    """Return an image, not loaded, as what reads its format opens it."""
    from PIL import Image, JpegImagePlugin

    stream = io.BytesIO(encoded)
    if encoded.startswith(b"\xff\xd8\xff"):  # opened as such: preview images behind it do not matter
        if encoded.count(_SCAN) > _MAX_SCANS:
            raise UnreadableImageError(
                f"more than {_MAX_SCANS} scans, each of which goes over the whole image"
            )
        return JpegImagePlugin.JpegImageFile(stream)
    kind = later_format(encoded)
    if kind is not None:
        require_reader(kind)
    if kind == "HEIC":
        return open_heic(stream)
    if kind == "JPEG 2000":
        require_plain_codestream(encoded, limits)
    image = Image.open(stream, formats=_FORMATS)
    if kind == "JPEG 2000":
        image.info[DECLARED_MAXIMUM] = declared_maximum(encoded)
    return image


def _do_nothing() -> None:
    pass


def _require_plain_tiff(image: "Image", limits: Limits) -> None:
    """Raise where the library takes memory by the size of a tile, or takes numbers with a sign for others."""
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    if image.mode not in {"I", "F"} and _SIGNED in tags.get(_SAMPLE_FORMAT, ()):
        raise UnreadableImageError(_NO_RANGE.format("whole numbers with a sign"))
    width, height = (tags.get(tag, 1) for tag in (_TILE_WIDTH, _TILE_LENGTH))
    if not (isinstance(width, int) and isinstance(height, int)):
        raise UnreadableImageError("the size of its tiles is no number")
    limits.require_pixels(width, height, "a tile of the image")


def _webp_size(encoded: bytes) -> tuple[int, int] | None:
    """Return the canvas of a WebP image from its header.

    Source: RFC 9649, sections 2.5 to 2.7.
    """
    if encoded[:4] != b"RIFF" or encoded[8:12] != b"WEBP" or len(encoded) < 30:
        return None
    kind = encoded[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(encoded[at : at + 3], "little") + 1 for at in (24, 27))
        return width, height
    if kind == b"VP8L":
        bits = int.from_bytes(encoded[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = (int.from_bytes(encoded[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    return width, height


def _put_on_white(image: "Image") -> "Image":
    """Put an image on white, some rows at a time."""
    from PIL import Image

    flat = Image.new("RGB", image.size)
    n_rows = max(1, _PIXELS_AT_A_TIME // image.width)
    for top in range(0, image.height, n_rows):
        band = image.crop((0, top, image.width, min(image.height, top + n_rows))).convert("RGBA")
        ground = Image.new("RGBA", band.size, _BACKGROUND)
        flat.paste(Image.alpha_composite(ground, band).convert("RGB"), (0, top))
    return flat


class _Quiet:
    """Silences remarks on metadata, and sets what belongs to the decoder's whole process.

    Images are decoded in threads: the first to come changes the state, the last to go restores it. The
    decoder's own limit of pixels is off, for ours comes first; it must not accept truncated images.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_inside = 0
        self._filters: Any = None
        self._before: tuple[Any, ...] = ()

    def __enter__(self) -> None:
        from PIL import Image, ImageFile

        with self._lock:
            if self._n_inside == 0:
                self._filters = warnings.catch_warnings(action="ignore")
                self._filters.__enter__()
                self._before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
                Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = None, False
            self._n_inside += 1

    def __exit__(self, *_: object) -> None:
        from PIL import Image, ImageFile

        with self._lock:
            self._n_inside -= 1
            if self._n_inside == 0:
                Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = self._before
                self._filters.__exit__(None, None, None)


QUIET = _Quiet()
_ONE_LARGE = threading.Lock()


@contextmanager
def _reasons() -> Iterator[None]:
    """Turn whatever the decoder raises into one error with a reason: any byte may be wrong in any way."""
    from PIL import UnidentifiedImageError

    try:
        yield
    except UnreadableImageError:
        raise
    except UnidentifiedImageError as problem:
        raise UnreadableImageError("not an image of a known format") from problem
    except TooLargeError as problem:
        raise UnreadableImageError(str(problem)) from problem
    except MemoryError as problem:
        raise UnreadableImageError("not enough memory to decode it") from problem
    except Exception as problem:
        raise UnreadableImageError(str(problem) or type(problem).__name__) from problem
