"""From encoded images to the pixels that a network receives."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rep_kedro.errors import UserError
from rep_kedro.models.preprocessing import Preprocessing
from rep_kedro.stimuli.limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image
    from torch import Tensor

    from rep_kedro.datasets import ArrowHandle


def hash_stimulus_ids(stimulus_ids: list[str]) -> str:
    """Return the SHA-256 of the ids in their order, one per line."""
    return hashlib.sha256("\n".join(stimulus_ids).encode()).hexdigest()


def make_pixels(
    images: Sequence[bytes],
    preprocessing: Preprocessing,
    *,
    names: Sequence[str] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> "np.ndarray[Any, Any]":
    """Return the pixels that a network's input is scaled from.

    Returns:
        uint8, (n_stimuli, n_channels, size_px, size_px).
    """
    import numpy as np

    from rep_kedro.stimuli.decoding import decode_images, decode_square
    from rep_kedro.stimuli.pixels import UnreadableImageError

    n_channels, side = len(preprocessing.mean), preprocessing.size_px
    if preprocessing.interpolation == "bilinear" and preprocessing.resize_px == side:
        return decode_images(images, size_px=side, channels=n_channels, names=names, limits=limits)
    pixels = np.empty((len(images), n_channels, side, side), dtype=np.uint8)
    for row, encoded in enumerate(images):
        try:
            square = decode_square(encoded, channels=n_channels, limits=limits)
        except UnreadableImageError as problem:
            name = f"number {row}" if names is None else repr(names[row])
            raise UnreadableImageError(f"image {name} cannot be decoded: {problem}") from problem
        pixels[row] = _resize_and_cut(square, preprocessing)
    return pixels


def stream_inputs(
    stimulus_set: "ArrowHandle",
    subset: "ArrowHandle",
    preprocessing: Preprocessing,
    *,
    batch_size: int,
    device: str,
) -> "Iterator[Tensor]":
    """Yield a subset's images as the network takes them, in batches on its device.

    Raises:
        UserError: If the subset is empty.
    """
    import torch

    from rep_kedro.stimuli.limits import limits_of
    from rep_kedro.stimuli.selection import locate_stimuli, stream_images

    names, rows = locate_stimuli(stimulus_set, subset)
    if not rows:
        raise UserError(f"subset {subset.key!r} is empty: it has no stimuli for the networks")
    limits, start = limits_of(stimulus_set.meta), 0
    for encoded in stream_images(stimulus_set, rows, batch_size=batch_size):
        shown = names[start : start + len(encoded)]
        start += len(encoded)
        pixels = make_pixels(encoded, preprocessing, names=shown, limits=limits)
        yield preprocessing.scale(torch.from_numpy(pixels).to(device))


def _resize_and_cut(square: "Image", preprocessing: Preprocessing) -> "np.ndarray[Any, Any]":
    """Resize a square image as requested and cut out its centre: (n_channels, size_px, size_px)."""
    import numpy as np
    from PIL.Image import Resampling

    resize_px, size_px = preprocessing.resize_px, preprocessing.size_px
    resized = square.resize((resize_px, resize_px), Resampling[preprocessing.interpolation.upper()])
    margin = round((resize_px - size_px) / 2)
    cut = np.asarray(resized.crop((margin, margin, margin + size_px, margin + size_px)))
    return cut.reshape(size_px, size_px, -1).transpose(2, 0, 1)
