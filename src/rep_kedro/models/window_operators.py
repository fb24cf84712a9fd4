"""Operators that read other positions than their own: windows, resampling, padding, shifts, and back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from rep_kedro.kernels.layers import sighted
from rep_kedro.kernels.layers.sighted import Sighted
from rep_kedro.kernels.layers.taps import (
    adaptive_taps,
    fold_taps,
    interpolation_taps,
    nearest_taps,
    transposed_taps,
    window_taps,
)
from rep_kedro.models.operator_call import CannotFollowError, Operator

_GAPS = "that leaves gaps, whose receptive field is not known"


def _convolve(op: Operator) -> Sighted:
    if op.look_up(op.given["weight"]) is not None:
        raise CannotFollowError("convolution with weights that depend on the image")
    kernel = op.given["weight"].shape[2:]
    x = sighted.expand(sighted.reduce(op.x, [1]), (*op.x.shape[:1], op.shape[1], *op.x.shape[2:]))
    settings = [op.given[name] for name in ("stride", "padding", "dilation")]
    if not op.given["transposed"]:
        return _slide(x, op, kernel, *settings)
    for axis, (size, stride, padding, dilation) in _by_axis(x, kernel, *settings):
        try:
            taps = transposed_taps(op.shape[axis], size, stride, padding, dilation)
        except ValueError as problem:
            raise CannotFollowError(f"a transposed convolution {_GAPS}") from problem
        x = sighted.read(x, axis, taps, 1 / stride)
    return x


def _pool(op: Operator) -> Sighted:
    kernel, dilation = op.given["kernel_size"], op.given.get("dilation", 1)
    return _slide(op.x, op, kernel, op.given["stride"] or kernel, op.given["padding"], dilation)


def _slide(x: Sighted, op: Operator, kernel: Any, *settings: Any) -> Sighted:
    for axis, (size, stride, padding, dilation) in _by_axis(x, kernel, *settings):
        x = sighted.read(x, axis, window_taps(op.shape[axis], size, stride, padding, dilation), stride)
    return x


def _by_axis(x: Sighted, kernel: Sequence[int], *settings: Any) -> list[tuple[int, tuple[int, ...]]]:
    """Return each of the last axes with the kernel and the settings along it."""
    n_spatial = len(kernel)
    each = [[v] if isinstance(v, int) else list(v) for v in settings]
    each = [values * n_spatial if len(values) == 1 else values for values in each]
    return list(enumerate(zip(kernel, *each, strict=True), start=len(x.dims) - n_spatial))


def _pool_adaptively(op: Operator) -> Sighted:
    x, n_spatial = op.x, len(op.given["output_size"])
    for axis in range(len(x.dims) - n_spatial, len(x.dims)):
        n, n_out = x.shape[axis], op.shape[axis]
        if n_out == 1:
            x = sighted.reduce(x, [axis])
            continue
        x = sighted.read(x, axis, adaptive_taps(n, n_out), n / n_out)
    return x


def _resample(op: Operator, half_width: int) -> Sighted:
    """Copy the nearest position (half width 0), or interpolate."""
    x, n_spatial = op.x, len(op.given["output_size"])
    scales = [value for name, value in op.given.items() if name.startswith("scale")]
    first = len(x.dims) - n_spatial
    for axis, scale in enumerate(scales, start=first):
        n, n_out = x.shape[axis], op.shape[axis]
        ratio = 1 / scale if scale else n / n_out
        if half_width == 0:
            taps = nearest_taps(n, n_out, ratio, at_centre="exact" in op.name)
        else:
            align_corners = op.given["align_corners"]
            if align_corners:
                ratio = (n - 1) / max(1, n_out - 1)
            taps = interpolation_taps(
                n_out, ratio, half_width, align_corners=align_corners, antialias=op.name.endswith("_aa")
            )
        x = sighted.read(x, axis, taps, n / n_out)
    return x


def _pad(op: Operator) -> Sighted:
    x, pad = op.x, op.given.get("pad", op.given.get("padding"))
    for k in range(len(pad) // 2):
        axis, before, after = len(x.dims) - 1 - k, pad[2 * k], pad[2 * k + 1]
        if before or after:
            x = sighted.read(x, axis, np.arange(-before, x.shape[axis] + after)[:, None])
    return x


def _roll(op: Operator) -> Sighted:
    """Shift the map as if it went on: what is rolled round is masked in windows, and no neighbour."""
    x, axes = op.x, op.axes("dims")
    if not op.given["dims"]:  # in reading order, over all axes
        x, axes = sighted.reshape(x, [int(np.prod(op.shape))]), [0]
    for axis, shift in zip(axes, op.given["shifts"], strict=True):
        n = x.shape[axis]
        x = sighted.read(x, axis, (np.arange(n) - ((shift + n // 2) % n - n // 2))[:, None])
    return x if op.given["dims"] else sighted.reshape(x, op.shape)


def _take_windows(op: Operator) -> Sighted:
    """Put the windows of a map next to each other: (n, channels x kernel, windows)."""
    x, kernel = op.x, op.given["kernel_size"]
    settings = [op.given[name] for name in ("stride", "padding", "dilation")]
    counts = []
    for axis, (size, stride, padding, dilation) in _by_axis(x, kernel, *settings):
        counts.append((x.shape[axis] + 2 * padding - dilation * (size - 1) - 1) // stride + 1)
        taps = window_taps(counts[-1], size, stride, padding, dilation)
        x = sighted.read(x, axis, taps.reshape(-1, 1), stride)
    front = len(x.dims) - 2
    x = sighted.reshape(x, [*x.shape[:front], counts[0], kernel[0], counts[1], kernel[1]])
    order = [*range(front), front + 1, front + 3, front, front + 2]
    return sighted.reshape(sighted.permute(x, order), op.shape)


def _add_windows(op: Operator) -> Sighted:
    """Add the windows of (n, channels x kernel, windows) up to a map."""
    kernel, n_batch = op.given["kernel_size"], op.shape[:-3]
    settings = [op.given[name] for name in ("stride", "padding", "dilation")]
    counts = [
        (n + 2 * padding - dilation * (size - 1) - 1) // stride + 1
        for n, (_, (size, stride, padding, dilation)) in zip(
            op.shape[-2:], _by_axis(op.x, kernel, *settings), strict=True
        )
    ]
    x = sighted.reshape(op.x, [*n_batch, op.shape[-3], *kernel, *counts])
    front = len(n_batch) + 1
    x = sighted.permute(x, [*range(front), front + 2, front, front + 3, front + 1])
    x = sighted.reshape(x, [*x.shape[:front], counts[0] * kernel[0], counts[1] * kernel[1]])
    strides = []
    for n_windows, (axis, (size, stride, padding, dilation)) in zip(
        counts, _by_axis(x, kernel, *settings), strict=True
    ):
        try:
            taps = fold_taps(op.shape[axis], n_windows, size, stride, padding, dilation)
        except ValueError as problem:
            raise CannotFollowError(f"a sum of windows {_GAPS}") from problem
        x = sighted.read(x, axis, taps)
        strides.append(stride)
    return _with_jumps(x, op.x, 1 / strides[0], 1 / strides[1])


def _unfold(op: Operator) -> Sighted:
    """Windows along one axis, whose positions become the last axis."""
    axis, size, step = op.given["dimension"] % len(op.x.dims), op.given["size"], op.given["step"]
    taps = window_taps(op.shape[axis], size, step, 0, 1)
    x = sighted.read(op.x, axis, taps.reshape(-1, 1), step)
    x = sighted.reshape(x, [*x.shape[:axis], op.shape[axis], size, *x.shape[axis + 1 :]])
    order = [place for place in range(len(x.dims)) if place != axis + 1]
    return sighted.permute(x, [*order, axis + 1])


def _shuffle_pixels(op: Operator) -> Sighted:
    r, front = op.given["upscale_factor"], op.shape[:-3]
    n, (height, width) = len(front), op.x.shape[-2:]
    x = sighted.reshape(op.x, [*front, op.shape[-3], r, r, height, width])
    x = sighted.permute(x, [*range(n + 1), n + 3, n + 1, n + 4, n + 2])
    return _with_jumps(sighted.reshape(x, op.shape), op.x, 1 / r, 1 / r)


def _unshuffle_pixels(op: Operator) -> Sighted:
    r, front = op.given["downscale_factor"], op.shape[:-3]
    n, (height, width) = len(front), op.shape[-2:]
    x = sighted.reshape(op.x, [*front, op.x.shape[-3], height, r, width, r])
    x = sighted.permute(x, [*range(n + 1), n + 2, n + 4, n + 1, n + 3])
    return _with_jumps(sighted.reshape(x, op.shape), op.x, r, r)


def _with_jumps(x: Sighted, before: Sighted, along_rows: float, along_columns: float) -> Sighted:
    """Return the tensor with the distances between positions of another one, times a factor."""
    rows = replace(x.rows, jump_px=before.rows.jump_px * along_rows)
    return Sighted(x.dims, rows, replace(x.columns, jump_px=before.columns.jump_px * along_columns))


_HALF_WIDTHS = {
    **dict.fromkeys((f"upsample_nearest{n}d" for n in (1, 2, 3)), 0),
    **dict.fromkeys((f"_upsample_nearest_exact{n}d" for n in (1, 2, 3)), 0),
    **dict.fromkeys((f"upsample_{kind}" for kind in ("linear1d", "bilinear2d", "trilinear3d")), 1),
    **{"_upsample_bilinear2d_aa": 1, "upsample_bicubic2d": 2, "_upsample_bicubic2d_aa": 2},
}  # fmt: skip
"""How far each resampling reads."""

WINDOW_RULES: Mapping[str, Callable[[Operator], Sighted | list[Sighted]]] = {
    **dict.fromkeys(("convolution", "_convolution"), _convolve),
    **dict.fromkeys((f"max_pool{n}d_with_indices" for n in (2, 3)), _pool),
    **dict.fromkeys((f"avg_pool{n}d" for n in (1, 2, 3)), _pool),
    **dict.fromkeys((f"max_pool{n}d" for n in (1, 2, 3)), _pool),
    **dict.fromkeys((f"_adaptive_avg_pool{n}d" for n in (2, 3)), _pool_adaptively),
    **dict.fromkeys((f"adaptive_avg_pool{n}d" for n in (1, 2, 3)), _pool_adaptively),
    **dict.fromkeys((f"adaptive_max_pool{n}d" for n in (1, 2, 3)), _pool_adaptively),
    **{name: partial(_resample, half_width=width) for name, width in _HALF_WIDTHS.items()},
    **dict.fromkeys((f"{mode}_pad{n}d" for n in (1, 2, 3) for mode in ("reflection", "replication")), _pad),
    "constant_pad_nd": _pad,
    "im2col": _take_windows,
    "col2im": _add_windows,
    "unfold": _unfold,
    "pixel_shuffle": _shuffle_pixels,
    "pixel_unshuffle": _unshuffle_pixels,
    "roll": _roll,
}  # fmt: skip
