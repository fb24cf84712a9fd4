"""Embedded images of many points in fewer bytes: a palette instead of millions of colours."""

import base64
import io

PREFIX = "data:image/png;base64,"
MANY_PIXELS = 20_000  # smaller ones are heat maps of a pixel per cell, which stay exact
N_COLOURS = 256


def shrink_png(address: str) -> str:
    """Return a data address of an image, with at most 256 colours where it is large and that is shorter.

    Args:
        address: ``data:image/png;base64,...``; any other address is returned as it is.
    """
    if not address.startswith(PREFIX):
        return address
    from PIL import Image

    compact = "".join(address.split())
    image = Image.open(io.BytesIO(base64.b64decode(compact.removeprefix(PREFIX)))).convert("RGBA")
    if image.width * image.height < MANY_PIXELS or image.getcolors(N_COLOURS) is not None:
        return compact
    stream = io.BytesIO()
    few = image.quantize(N_COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    few.save(stream, format="PNG", optimize=True)
    shrunk = PREFIX + base64.b64encode(stream.getvalue()).decode()
    return min(shrunk, compact, key=len)
