"""Encoded images to arrays of one size, and whether they can be decoded.

``pixels`` has the rules for a single image. Resizing keeps the aspect ratio: the largest central square is
cut out and resized bilinearly, with antialiasing when it shrinks. The same rule enlarges tiny digits; where
the size is right already, pixels are untouched.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rep_kedro.stimuli.limits import DEFAULT_LIMITS, Limits
from rep_kedro.stimuli.pixels import QUIET, UnreadableImageError, decode_image, has_more_frames
from rep_kedro.stimuli.wide_values import ValueRange

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from PIL.Image import Image

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
    | {".avif", ".heic", ".heif", ".jp2", ".j2k", ".jpf"}
)


class CheckedImage(NamedTuple):
    """What a check finds in an image that can be decoded.

    Attributes:
        size: Width and height in pixels, upright.
        wide_range: Smallest and largest value of more than 8 bits, where the file does not say how large they
            may be; else None.
        has_more_frames: True if frames are left out.
    """

    size: tuple[int, int]
    wide_range: tuple[float, float] | None = None
    has_more_frames: bool = False


def decode_images(
    images: "Sequence[bytes] | pa.Array",
    *,
    size_px: int,
    channels: int = 3,
    names: "Sequence[str] | None" = None,
    limits: Limits = DEFAULT_LIMITS,
) -> "np.ndarray":
    """Return images as pixels of one size.

    Args:
        images: Encoded images: a sequence of bytes, or an Arrow array (also a chunked one) of binary.
        size_px: Side length of the returned squares, in pixels.
        channels: 3 for RGB; 1 for grey (ITU-R 601-2 luma; grey images keep their values).
        names: Of the images, for messages; without them the position is named.
        limits: Larger images are refused.

    Returns:
        uint8, shape (n_images, channels, size_px, size_px), range 0 to 255.

    Raises:
        UnreadableImageError: Names the first image that cannot be decoded, and the reason.
        ValueError: If size_px or channels are out of range.

    Cost:
        About 0.1 ms for a PNG of 32 x 32 pixels; memory is the returned array and one image.
    """
    import numpy as np

    if size_px < 1 or channels not in {1, 3}:
        raise ValueError(f"size_px must be at least 1 and channels 1 or 3, received {size_px} and {channels}")
    pixels = np.empty((len(images), size_px, size_px, channels), dtype=np.uint8)
    with QUIET:
        for position, encoded in enumerate(_as_bytes(images)):
            try:
                image = _to_mode(decode_image(encoded, limits=limits).image, channels)
            except UnreadableImageError as problem:
                name = f"image {position} of {len(images)}" if names is None else f"image {names[position]!r}"
                raise UnreadableImageError(f"{name} cannot be decoded: {problem}") from problem
            pixels[position] = np.asarray(fit_square(image, size_px)).reshape(size_px, size_px, channels)
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def decode_square(encoded: bytes, *, channels: int = 3, limits: Limits = DEFAULT_LIMITS) -> "Image":
    """Return the largest central square of one image at its own resolution, in mode RGB or L.

    Raises:
        UnreadableImageError: If it cannot be decoded.
    """
    image = _to_mode(decode_image(encoded, limits=limits).image, channels)
    return fit_square(image, min(image.size))


def check_images(
    images: Sequence[bytes], *, limits: Limits = DEFAULT_LIMITS, value_range: ValueRange | None = None
) -> Iterator[CheckedImage | UnreadableImageError]:
    """Yield what is found in each image, or why it is damaged: it is decoded as it is to be shown."""
    with QUIET:
        for encoded in images:
            try:
                yield _check(encoded, limits, value_range)
            except UnreadableImageError as problem:
                yield problem


def _check(encoded: bytes, limits: Limits, value_range: ValueRange | None) -> CheckedImage:
    image, narrowed, has_more = decode_image(encoded, limits=limits, value_range=value_range)
    has_range = narrowed is not None and not narrowed.is_declared
    wide_range = (narrowed.smallest, narrowed.largest) if narrowed and has_range else None
    return CheckedImage(image.size, wide_range, has_more_frames(encoded) if has_more is None else has_more)


def _as_bytes(images: "Sequence[bytes] | pa.Array") -> Iterator[bytes]:
    for image in images:
        yield image.as_py() if hasattr(image, "as_py") else image


def _to_mode(image: "Image", channels: int) -> "Image":
    mode = "RGB" if channels == 3 else "L"
    return image if image.mode == mode else image.convert(mode)


def fit_square(image: "Image", size_px: int) -> "Image":
    """Return the largest central square of an image, resized bilinearly, with antialiasing."""
    from PIL.Image import Resampling

    width, height = image.size
    if width == height == size_px:
        return image
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return image.resize((size_px, size_px), Resampling.BILINEAR, box=(left, top, left + side, top + side))
