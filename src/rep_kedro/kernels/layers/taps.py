"""Which positions along one axis of a map each position of what is made of it reads, by shapes alone.

Taps have the shape (n_out, n_taps). Positions may exceed the map: windows there read what the map would be
if it went on. Where positions read different numbers of taps, one of them is repeated.
"""

import numpy as np
from numpy.typing import NDArray

Taps = NDArray[np.int64]
_DIGITS = 6  # of a place between two positions: n / n_out is rounded


def window_taps(n_out: int, kernel: int, stride: int, padding: int, dilation: int) -> Taps:
    """Return what windows of a convolution or a pooling read."""
    starts = np.arange(n_out) * stride - padding
    return starts[:, None] + np.arange(kernel) * dilation


def adaptive_taps(n: int, n_out: int) -> Taps:
    """Return what windows read that divide a map of n positions into n_out parts, as in adaptive pooling."""
    starts, ends = np.arange(n_out) * n // n_out, -(-np.arange(1, n_out + 1) * n // n_out)
    taps = starts[:, None] + np.arange((ends - starts).max())
    return np.minimum(taps, ends[:, None] - 1)


def transposed_taps(n_out: int, kernel: int, stride: int, padding: int, dilation: int) -> Taps:
    """Return what positions of a transposed convolution read: those whose windows they are in.

    Raises:
        ValueError: If a position is in no window, as where the stride exceeds the kernel.
    """
    places = np.arange(n_out)[:, None] + padding - np.arange(kernel)[::-1] * dilation
    return _keep(places // stride, places % stride == 0)


def fold_taps(n_out: int, n_windows: int, kernel: int, stride: int, padding: int, dilation: int) -> Taps:
    """Return what positions read where windows are added up to a map.

    Returns:
        Places window * kernel + offset, of the windows that there are.

    Raises:
        ValueError: If a position is in no window.
    """
    offsets = np.arange(kernel)
    places = np.arange(n_out)[:, None] + padding - offsets * dilation
    windows = places // stride
    is_read = (places % stride == 0) & (windows >= 0) & (windows < n_windows)
    return _keep(windows * kernel + offsets, is_read)


def nearest_taps(n: int, n_out: int, ratio: float, *, at_centre: bool) -> Taps:
    """Return the one position that each position copies.

    Args:
        n: Positions of the map.
        n_out: Positions that are made.
        ratio: Positions of the map per position that is made.
        at_centre: Take what is nearest to the centre of a position (`nearest-exact`), not to its start.
    """
    places = np.arange(n_out, dtype=np.float32) + np.float32(0.5 if at_centre else 0)
    return np.minimum((places * np.float32(ratio)).astype(np.int64), n - 1)[:, None]


def interpolation_taps(
    n_out: int, ratio: float, half_width: int, *, align_corners: bool = False, antialias: bool = False
) -> Taps:
    """Return the positions that an interpolation reads with a weight that is not zero.

    Args:
        n_out: Positions that are made.
        ratio: Positions of the map per position that is made.
        half_width: Of the interpolating function: 1 if it is linear, 2 if it is cubic.
        align_corners: Whether the first and last positions of both coincide, not their outer edges.
        antialias: Whether the function is widened where the map becomes smaller.

    Source:
        Keys 1981, doi:10.1109/TASSP.1981.1163711: both functions are zero at the other positions of the map.
    """
    at = (
        np.arange(n_out) * ratio
        if align_corners and not antialias
        else (np.arange(n_out) + 0.5) * ratio - 0.5
    )
    widening = max(ratio, 1.0) if antialias else 1.0
    reach = int(np.ceil(half_width * widening)) + 1
    taps = np.floor(at).astype(np.int64)[:, None] + np.arange(-reach, reach + 1)
    distance = np.round(np.abs(taps - at[:, None]) / widening, _DIGITS)
    return _keep(taps, (distance < half_width) & (distance != 1))


def _keep(taps: Taps, is_read: NDArray[np.bool_]) -> Taps:
    """Return the taps that are read; one of them takes the place of the others."""
    if not is_read.any(axis=1).all():
        raise ValueError("a position reads nothing")
    some = np.take_along_axis(taps, is_read.argmax(axis=1)[:, None], axis=1)
    return np.where(is_read, taps, some)
