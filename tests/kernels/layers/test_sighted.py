"""Tensors whose axes are counted by indices: against numpy arrays whose numbers are pixel positions."""

import numpy as np
import pytest

from rep_kedro.kernels.layers import sighted
from rep_kedro.kernels.layers.sighted import Sighted


def _image(rows=4, columns=6):
    """Return an image, and numpy arrays of the row and column that each of its numbers sees."""
    x = sighted.image_of((1, 3, rows, columns))
    return x, np.broadcast_to(np.mgrid[:rows, :columns][:, None, None], (2, 1, 3, rows, columns)).copy()


def _numbers(x: Sighted):
    """Return the row and column that each number sees, where each sees a single pixel."""
    flat = [index for dim in x.dims for index in dim]
    arrays = []
    for sight in (x.rows, x.columns):
        (paths,) = sight.paths
        assert np.array_equal(paths.first, paths.last)
        order = [paths.indices.index(index) for index in flat if index in paths.indices]
        shape = [index.size if index in paths.indices else 1 for index in flat]
        spread = np.broadcast_to(paths.first.transpose(order).reshape(shape), [index.size for index in flat])
        arrays.append(spread.reshape(x.shape))
    return np.stack(arrays)


@pytest.mark.parametrize(
    "shape",
    [
        (1, 3, 24),
        (3, 4, 6),
        (3, 2, 2, 3, 2),
        (1, 72),
        (72,),
        (2, 36),
        (8, 9),
        (9, 8),
        (5 - 4, 1, 72),
        (4, 18),
    ],
)
def test_reshaping_is_that_of_numbers(shape):
    x, numbers = _image()
    assert np.array_equal(_numbers(sighted.reshape(x, shape)), numbers.reshape(2, *shape))


def test_permuting_and_reshaping_is_that_of_numbers():
    x, numbers = _image()
    windows = sighted.permute(sighted.reshape(x, (3, 2, 2, 3, 2)), (1, 3, 0, 2, 4))
    expected = numbers.reshape(2, 3, 2, 2, 3, 2).transpose(0, 2, 4, 1, 3, 5)
    assert np.array_equal(_numbers(windows), expected)
    back = sighted.reshape(windows, (6, 3, 4))
    assert np.array_equal(_numbers(back), expected.reshape(2, 6, 3, 4))


def test_reading_selecting_and_inserting_are_those_of_numbers():
    x, numbers = _image()
    every_second = sighted.read(x, 3, np.array([[1], [3], [5]]), 2)
    assert np.array_equal(_numbers(every_second), numbers[..., 1::2])
    assert every_second.columns.jump_px == 2
    assert sighted.read(x, 3, np.arange(6)[:, None]).columns.jump_px == 1
    row = sighted.select(x, 2, 3)
    assert np.array_equal(_numbers(row), numbers[:, :, :, 3])
    assert sighted.insert(row, 1).shape == (1, 1, 3, 6)


@pytest.mark.parametrize("counted", [(1, 3, 24), (3, 4, 6), (3, 24), (9, 8)])
def test_combining_tensors_counted_differently_sees_what_both_see(counted):
    x, numbers = _image()
    one = sighted.reshape(x, counted)
    other = sighted.reshape(sighted.permute(x, (0, 1, 3, 2)), counted)
    both = sighted.combine([one, other], counted)
    a, b = numbers.reshape(2, *counted), numbers.transpose(0, 1, 2, 4, 3).reshape(2, *counted)
    flat = sighted.reshape(both, (72,))
    for axis, sight in enumerate((flat.rows, flat.columns)):
        (paths,) = sight.paths
        merged = [paths.indices.index(index) for index in flat.dims[0] if index in paths.indices]
        shape = [index.size if index in paths.indices else 1 for index in flat.dims[0]]
        sizes = [index.size for index in flat.dims[0]]
        first, last = (
            np.broadcast_to(e.transpose(merged).reshape(shape), sizes).flatten()
            for e in (paths.first, paths.last)
        )
        assert np.array_equal(first, np.minimum(a[axis], b[axis]).flatten())
        assert np.array_equal(last, np.maximum(a[axis], b[axis]).flatten())


def test_joining_along_positions_and_along_channels():
    x, numbers = _image()
    tokens = sighted.reshape(x, (3, 24))
    joined = sighted.join([None, tokens], [1, 24], 1, (3, 25))
    kept = sighted.read(joined, 1, np.arange(1, 25)[:, None])
    assert np.array_equal(_numbers(kept), numbers.reshape(2, 3, 24))
    channels = sighted.join([x, x], [3, 3], 1, (1, 6, 4, 6))
    assert np.array_equal(_numbers(channels), np.concatenate([numbers, numbers], axis=2))


def test_positions_of_size_one_stay_positions():
    x = sighted.image_of((1, 3, 1, 1))
    both = sighted.combine([x, sighted.expand(sighted.reduce(x, [1]), (1, 3, 1, 1))], (1, 3, 1, 1))
    grown = sighted.read(both, 2, np.array([[-1, 0, 1]]))
    assert (grown.rows.paths[0].first.item(), grown.rows.paths[0].last.item()) == (-1, 1)


def test_reducing_channels_leaves_positions_and_reducing_positions_reads_the_map():
    x, _ = _image()
    assert sighted.reduce(x, [1]).rows.whole is None
    pooled = sighted.leave_out(sighted.reduce(x, [2, 3]), [2, 3])
    assert (pooled.shape, pooled.rows.whole, pooled.columns.whole) == ((1, 3), (0, 3), (0, 5))


def test_axes_of_positions_are_not_resized():
    x, _ = _image()
    assert sighted.resize(x, (1, 3, 8, 6)) is None
    assert sighted.resize(x, (1, 7, 4, 6)).shape == (1, 7, 4, 6)
