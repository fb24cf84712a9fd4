"""Values of image files that the decoding library reads differently from what their format says."""

from typing import TYPE_CHECKING, Any

from rep_kedro.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

_LEVELS_PER_STEP = {"L;2": 85, "L;4": 17}  # of 255, by the layout of grey values of 2 and 4 bits


def set_transparent_value(image: "Image") -> None:
    """Give the transparent value of an open PNG the range of its pixels.

    The file has it in the bits of its samples; the library compares it with pixels from 0 to 255.

    Source: W3C PNG specification (third edition), section 11.3.1.1: the least significant bits are used.
    """
    clear: Any = image.info.get("transparency")
    if image.format != "PNG" or image.mode not in {"L", "RGB"} or clear is None:
        return
    layout = next((tile.args for tile in getattr(image, "tile", [])), None)
    if layout == "RGB":
        image.info["transparency"] = tuple(value & 255 for value in clear)
    elif image.mode == "L":
        step = _LEVELS_PER_STEP.get(str(layout), 1)
        image.info["transparency"] = (clear & (255 // step)) * step


def require_portable_range(image: "Image", encoded: bytes) -> None:
    """Raise if a binary PGM or PPM holds a value above the largest that it states; the library clips it.

    Raises:
        UserError: Names the two values.
    """
    import numpy as np

    tile: Any = next(iter(getattr(image, "tile", [])), None)
    if image.format != "PPM" or tile is None or tile.codec_name != "ppm":
        return
    largest = tile.args[-1]
    kind = np.dtype(np.uint8 if largest < 256 else ">u2")
    n_wanted = image.width * image.height * len(image.getbands())
    n_values = min(n_wanted, (len(encoded) - tile.offset) // kind.itemsize)
    found = int(np.frombuffer(encoded, kind, n_values, tile.offset).max(initial=0))
    if found > largest:
        raise UserError(f"a value of {found:,}, above the largest that the file states, {largest:,}")


def palette_size(image: "Image") -> int | None:
    """Return how many colours the palette of an image has that is not loaded; None without a palette."""
    if image.mode != "P" or image.palette is None:
        return None
    return len(image.palette.palette) // (4 if image.palette.rawmode == "BGRX" else 3)


def require_palette_colours(image: "Image", n_colours: int | None) -> None:
    """Raise if a loaded image uses a colour that its palette lacks; the library makes it black.

    Args:
        image: Loaded.
        n_colours: See :func:`palette_size`.

    Raises:
        UserError: Names the first such colour.
    """
    if image.mode != "P" or n_colours is None:
        return
    unused = {image.info.get("transparency"), image.info.get("background")}  # what a GIF does not show
    used = [colour for colour, count in enumerate(image.histogram()) if count and colour not in unused]
    if used and used[-1] >= n_colours:
        raise UserError(f"a pixel has colour {used[-1]}, its palette has {n_colours} (from 0)")
