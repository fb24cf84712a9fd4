"""Pixels of 16 bits per channel to 8 bits: value * 255 / largest value, rounded.

The decoder's library keeps 16 bits of grey images only. Of colours it keeps the upper byte; the lower one is
read by a second decoding that takes the bytes in the other order.
"""

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

MAX_VALUE = 65535
DECLARED_MAXIMUM = "declared_maximum"  # key of an image's info: its value of full brightness, or None
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0
_WIDE_MODE = re.compile(r".*;16[LBN]")
_PIXELS_AT_A_TIME = 1 << 20
_OTHER_ORDER = {"L": "B", "B": "L", "N": "B"}  # N: the machine's own, little-endian wherever wheels exist
_COLOURS = {"RGB", "RGBA"}
_SCALED_BY_LIBRARY = {"PPM", "JPEG2000"}  # whose values the library brings to 16 bits
_UNSIGNED_32 = {"I;32N", "I;32", "I;32B"}  # which the library reads as numbers with a sign


class ValueRange(NamedTuple):
    """Values that become black and white.

    Attributes:
        low: Becomes 0.
        high: Becomes 255.
        is_window: Whether values outside are cut off; else they are errors.
    """

    low: float
    high: float
    is_window: bool = False

    @property
    def parameter(self) -> str:
        """The parameter that states it."""
        return f"value_window [{self.low:g}, {self.high:g}]" if self.is_window else f"max_value {self.high:g}"


class NotReadError(ValueError):
    """A kind of pixels that is not read; the message says which."""


class Narrowed(NamedTuple):
    """An image brought down to 8 bits.

    Attributes:
        image: Mode L, RGB or RGBA.
        smallest: Of its values as stored; of colours, transparency apart.
        largest: Of the same.
        is_declared: True if the file itself says which value is the largest possible.
    """

    image: "Image"
    smallest: float
    largest: float
    is_declared: bool


def is_wide(image: "Image", value_range: ValueRange | None = None) -> bool:
    """Return whether an open image holds values of more than 8 bits per channel whose range is known.

    Whole numbers without a sign have one; numbers with a sign, or floating-point numbers, take a window.
    """
    if image.mode in {"I", "F"}:
        has_window = value_range is not None and value_range.is_window
        return has_window or (image.mode == "I" and image.format == "PPM")
    return (
        image.mode.startswith("I;16")
        or any(map(_WIDE_MODE.fullmatch, _raw_modes(image)))
        or (image.format == "TIFF" and max(_bits_per_sample(image)) > 8)
    )


def narrow(image: "Image", open_again: "Callable[[], Image]", value_range: ValueRange | None) -> Narrowed:
    """Load a wide image and return it with 8 bits.

    Args:
        image: Open, not loaded (grey images may be loaded).
        open_again: Opens the same image once more.
        value_range: Values that become black and white, if the file does not declare them; None means 0 to
            65,535.

    Raises:
        NotReadError: If its layout is not read exactly, or a value is outside of a range that is no window.
    """
    declared = _declared_maximum(image)
    if value_range is not None and value_range.is_window:
        return _narrow_by_window(image, value_range)
    if image.mode.startswith("I"):
        parts = _grey_parts(image)
    elif _raw_modes(image) == {"LA;16B"}:
        parts = _grey_alpha_parts(image)
    else:
        parts = _colour_parts(image, open_again())
    maximum = declared or (MAX_VALUE if value_range is None else int(value_range.high))
    return _scale(parts, image.info.get("transparency"), maximum)._replace(is_declared=declared is not None)


def _narrow_by_window(image: "Image", window: ValueRange) -> Narrowed:
    """Load a grey image and return its window.

    Raises:
        NotReadError: If it is not a grey image, its values are not as stored, or one is not a finite number.
    """
    import numpy as np
    from PIL import Image

    if not image.mode.startswith(("I", "F")) or image.info.get("transparency") is not None:
        raise NotReadError("value_window is for grey images without transparency")
    if image.format in _SCALED_BY_LIBRARY or _raw_modes(image) & _UNSIGNED_32:
        raise NotReadError(f"value_window is not applied to {image.format} of this kind; store TIFF or PNG")
    is_inverted = getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    image.load()
    smallest, largest, bands = np.inf, -np.inf, []
    for top, bottom in _rows_at_a_time(image):
        values = np.asarray(image.crop((0, top, image.width, bottom))).astype(np.float64)
        if not np.isfinite(values).all():
            raise NotReadError("values are NaN or infinite")
        smallest, largest = min(smallest, values.min()), max(largest, values.max())
        shown = (values.clip(window.low, window.high) - window.low) * (255 / (window.high - window.low))
        bands.append(np.rint(255 - shown if is_inverted else shown).astype(np.uint8))
    return Narrowed(
        Image.fromarray(np.concatenate(bands)), float(smallest), float(largest), is_declared=False
    )


def _raw_modes(image: "Image") -> set[str]:
    """Return how an image that is open, but not loaded, is laid out in its file."""
    arguments = [tile.args for tile in getattr(image, "tile", [])]
    return {str(args if isinstance(args, str) else args[0]) for args in arguments if args}


def _bits_per_sample(image: "Image") -> tuple[int, ...]:
    """Return what a TIFF file declares; 8 for other formats."""
    bits: tuple[int, ...] = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE) or (8,)
    return bits


def _declared_maximum(image: "Image") -> int | None:
    if set(_bits_per_sample(image)) == {12}:
        return (1 << 12) - 1
    if image.info.get(DECLARED_MAXIMUM):
        return int(image.info[DECLARED_MAXIMUM])
    return MAX_VALUE if image.format == "PPM" and _raw_modes(image) != {"I;16B"} else None


def _grey_parts(image: "Image") -> "Iterator[np.ndarray]":
    is_inverted = getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    image.load()
    for values in _bands(image):
        yield (MAX_VALUE - values if is_inverted else values)[..., None]


def _grey_alpha_parts(image: "Image") -> "Iterator[np.ndarray]":
    _lay_out(image, lambda args: "RGBA")
    for four in _bands(image):
        yield four[..., 0::2] << 8 | four[..., 1::2]


def _colour_parts(image: "Image", again: "Image") -> "Iterator[np.ndarray]":
    modes = _raw_modes(image)
    if len(modes) != 1 or image.mode not in _COLOURS or next(iter(modes))[:-1] != f"{image.mode};16":
        raise NotReadError(
            f"16 bits per channel as {', '.join(sorted(modes))} are not read; store grey, RGB or RGBA"
        )
    _lay_out(again, _other_order)
    for upper, lower in zip(_bands(image), _bands(again), strict=True):
        yield upper << 8 | lower


def _lay_out(image: Any, change: Callable[[Any], Any]) -> None:
    image.tile = [tile._replace(args=change(tile.args)) for tile in image.tile]


def _other_order(args: Any) -> Any:
    if isinstance(args, str):
        return args[:-1] + _OTHER_ORDER[args[-1]]
    return (_other_order(args[0]), *args[1:])


def _bands(image: "Image") -> "Iterator[np.ndarray]":
    """Yield some rows at a time of an image's values, uint16."""
    import numpy as np

    image.load()
    for top, bottom in _rows_at_a_time(image):
        yield np.asarray(image.crop((0, top, image.width, bottom))).astype(np.uint16)


def _rows_at_a_time(image: "Image") -> "Iterator[tuple[int, int]]":
    n_rows = max(1, _PIXELS_AT_A_TIME // image.width)
    for top in range(0, image.height, n_rows):
        yield top, min(image.height, top + n_rows)


def _scale(parts: "Iterator[np.ndarray]", clear: Any, maximum: int) -> Narrowed:
    """Return the image; where ``clear`` is given, pixels of that value are transparent."""
    import numpy as np
    from PIL import Image

    table = np.rint(np.arange(MAX_VALUE + 1) * (255 / maximum)).clip(max=255).astype(np.uint8)
    bands, smallest, largest = [], MAX_VALUE, 0
    for values in parts:
        n_colours = values.shape[-1] - (values.shape[-1] in {2, 4})
        colours = values[..., :n_colours]
        smallest, largest = min(smallest, int(colours.min())), max(largest, int(colours.max()))
        alpha = table[values[..., n_colours:]]
        if clear is not None and not alpha.size:
            alpha = np.uint8(255) * (colours != np.array(clear)).any(axis=-1, keepdims=True)
        shown = table[colours]
        if alpha.size and n_colours == 1:
            shown = shown.repeat(3, axis=-1)
        bands.append(np.concatenate([shown, alpha], axis=-1) if alpha.size else shown)
    if largest > maximum:
        raise NotReadError(f"values up to {largest:,}, more than max_value {maximum:,}")
    pixels = np.concatenate(bands)
    image = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
    return Narrowed(image, smallest, largest, is_declared=False)
