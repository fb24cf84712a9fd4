"""From encoded images to the pixels that a network is shown."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rep_kedro.models.preprocessing import Preprocessing

if TYPE_CHECKING:
    import numpy as np


def hash_stimulus_ids(stimulus_ids: list[str]) -> str:
    """Return the SHA-256 of the ids in their order, one per line."""
    return hashlib.sha256("\n".join(stimulus_ids).encode()).hexdigest()


def make_pixels(images: Sequence[bytes], preprocessing: Preprocessing) -> "np.ndarray[Any, Any]":
    """Return the pixels that a network's input is scaled from.

    Returns:
        uint8, (n_stimuli, n_channels, size_px, size_px).
    """
    import numpy as np

    from rep_kedro.stimuli.decoding import decode_images

    n_channels, side = len(preprocessing.mean), preprocessing.size_px
    if preprocessing.interpolation == "bilinear" and preprocessing.resize_px == side:
        return decode_images(images, size_px=side, channels=n_channels)
    pixels = np.empty((len(images), n_channels, side, side), dtype=np.uint8)
    for row, image in enumerate(images):
        pixels[row] = _resize_and_cut(image, preprocessing)
    return pixels


def _resize_and_cut(encoded: bytes, preprocessing: Preprocessing) -> "np.ndarray[Any, Any]":
    """Resize the largest central square as asked and cut out its centre: (n_channels, size_px, size_px)."""
    import io

    import numpy as np
    from PIL import Image

    from rep_kedro.stimuli.decoding import decode_images

    with Image.open(io.BytesIO(encoded)) as header:
        native_px = min(header.size)
    square = decode_images([encoded], size_px=native_px, channels=len(preprocessing.mean))[0]
    image = Image.fromarray(square.transpose(1, 2, 0).squeeze())
    resize_px, size_px = preprocessing.resize_px, preprocessing.size_px
    resized = image.resize((resize_px, resize_px), Image.Resampling[preprocessing.interpolation.upper()])
    margin = round((resize_px - size_px) / 2)
    cut = np.asarray(resized.crop((margin, margin, margin + size_px, margin + size_px)))
    return cut.reshape(size_px, size_px, -1).transpose(2, 0, 1)
