"""Positions that are read, against what torch makes of maps with a single number that is not zero."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from rep_kedro.kernels.layers.taps import (
    adaptive_taps,
    fold_taps,
    interpolation_taps,
    nearest_taps,
    transposed_taps,
    window_taps,
)


def _ones(n):
    """One map (1, n) for each position, with a one there."""
    return torch.eye(n, dtype=torch.float64)[:, None]


def _require_read(taps, answers, *, only_inside=False):
    """Require that output o reads exactly the positions whose one it answers to."""
    n, n_out = answers.shape[0], answers.shape[-1]
    assert len(taps) == n_out
    reads = answers.reshape(n, n_out).abs() > 1e-12
    for row, found in zip(taps.tolist(), reads.T, strict=True):
        if only_inside and not 0 <= min(row) <= max(row) < n:
            continue
        assert {tap for tap in row if 0 <= tap < n} == set(found.nonzero().flatten().tolist())


@pytest.mark.parametrize(
    ("n", "kernel", "stride", "padding", "dilation"), [(9, 3, 2, 1, 1), (11, 2, 1, 3, 3)]
)
def test_windows_are_those_of_convolutions(n, kernel, stride, padding, dilation):
    found = functional.conv1d(
        _ones(n), _ones(1).expand(1, 1, kernel), stride=stride, padding=padding, dilation=dilation
    )
    _require_read(window_taps(found.shape[-1], kernel, stride, padding, dilation), found)


@pytest.mark.parametrize(
    ("n", "kernel", "stride", "padding", "dilation"),
    [(5, 4, 2, 1, 1), (6, 5, 3, 0, 1), (7, 3, 1, 2, 2), (4, 4, 3, 2, 2)],
)
def test_transposed_windows_are_those_of_transposed_convolutions(n, kernel, stride, padding, dilation):
    found = functional.conv_transpose1d(
        _ones(n), _ones(1).expand(1, 1, kernel), stride=stride, padding=padding, dilation=dilation
    )
    _require_read(transposed_taps(found.shape[-1], kernel, stride, padding, dilation), found)


@pytest.mark.parametrize(("n", "n_out"), [(7, 3), (8, 4), (3, 7)])
def test_adaptive_windows_are_those_of_adaptive_pooling(n, n_out):
    _require_read(adaptive_taps(n, n_out), functional.adaptive_avg_pool1d(_ones(n), n_out))


@pytest.mark.parametrize(
    ("n", "kernel", "stride", "padding", "dilation"), [(8, 4, 2, 1, 1), (9, 3, 3, 0, 1), (9, 3, 1, 0, 3)]
)
def test_folded_windows_are_those_of_fold(n, kernel, stride, padding, dilation):
    n_windows = (n + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    # every pair of window and offset has its place, windows outside
    ones = torch.eye(n_windows * kernel).reshape(-1, n_windows, kernel).transpose(1, 2)
    found = functional.fold(
        ones, (1, n), (1, kernel), stride=(1, stride), padding=(0, padding), dilation=(1, dilation)
    )
    taps = fold_taps(n, n_windows, kernel, stride, padding, dilation)
    assert 0 <= taps.min() <= taps.max() < n_windows * kernel
    _require_read(taps, found)


@pytest.mark.parametrize(("n", "n_out"), [(4, 8), (5, 15), (9, 4), (7, 7), (10, 13)])
def test_interpolation_reads_what_torch_reads(n, n_out):
    maps = _ones(n)[:, None].expand(n, 1, 1, n)
    for mode, half_width in (("bilinear", 1), ("bicubic", 2)):
        found = functional.interpolate(maps, size=(1, n_out), mode=mode)
        _require_read(interpolation_taps(n_out, n / n_out, half_width), found, only_inside=True)
        found = functional.interpolate(maps, size=(1, n_out), mode=mode, antialias=True)
        taps = interpolation_taps(n_out, n / n_out, half_width, antialias=True)
        _require_read(taps, found, only_inside=True)
        found = functional.interpolate(maps, size=(1, n_out), mode=mode, align_corners=True)
        taps = interpolation_taps(n_out, (n - 1) / (n_out - 1), half_width, align_corners=True)
        _require_read(taps, found, only_inside=True)
    for mode in ("nearest", "nearest-exact"):
        taps = nearest_taps(n, n_out, n / n_out, at_centre=mode == "nearest-exact")
        _require_read(taps, functional.interpolate(_ones(n), size=n_out, mode=mode))


@pytest.mark.parametrize(
    ("factor", "ends"),
    [(2, [[-1, 0], [0, 1], [0, 1], [1, 2]]), (3, [[-1, 0], [0, 0], [0, 1], [0, 1], [1, 1], [1, 2]])],
)
def test_positions_between_two_read_both_and_those_at_one_read_it_alone(factor, ends):
    taps = interpolation_taps(2 * factor, 1 / factor, 1)
    assert [[row.min(), row.max()] for row in taps] == ends


def test_gaps_are_refused():
    for taps in (lambda: transposed_taps(6, 2, 3, 0, 1), lambda: fold_taps(8, 3, 2, 3, 0, 1)):
        with pytest.raises(ValueError, match="a position reads nothing"):
            taps()
    assert np.array_equal(transposed_taps(4, 2, 2, 0, 1).max(axis=1), [0, 0, 1, 1])
