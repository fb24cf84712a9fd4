"""Paths from the image to a tensor: the first and last pixels that they reach from each position."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.int64]
Change = Callable[[Pixels, Pixels], tuple[Pixels, Pixels]]
NOWHERE = np.int64(2**40)  # first pixel of a position that sees nothing; the last one is its negative
_LONGEST_PERIOD = 64  # positions that see the same: maps are made finer by small factors


@dataclass(frozen=True, eq=False)
class Index:
    """One of the numbers that count the positions of a tensor; equal to itself alone.

    Attributes:
        size: How many values it takes.
    """

    size: int


@dataclass(frozen=True)
class Paths:
    """Paths from the image that depend on the same indices.

    Attributes:
        indices: What the position is counted by; the axes of all arrays.
        first: First pixel that is seen; negative in the padding.
        last: Last pixel that is seen; may exceed the image.
        near: First and last pixel along the path on which they are closest together; None: there is one.
    """

    indices: tuple[Index, ...]
    first: Pixels
    last: Pixels
    near: tuple[Pixels, Pixels] | None = None

    @property
    def smallest_px(self) -> float:
        """Field along the smallest path, 1 + sum of (k - 1) d j; infinite if no position sees the image."""
        first, last = self.near or (self.first, self.last)
        reach = int((last - first).max())
        return inf if reach < 0 else reach + 1

    def changed(self, indices: tuple[Index, ...], change: Change) -> "Paths":
        """Return paths whose first and last pixels are made of these."""
        near = None if self.near is None else change(*self.near)
        return Paths(indices, *change(self.first, self.last), near)


def read_paths(paths: Paths, index: Index, target: Index, taps: Pixels, jump_px: float) -> Paths:
    """Return the paths of positions, counted by `target`, that each read some positions along an index."""
    if index not in paths.indices:
        return paths
    axis = paths.indices.index(index)

    def read(first: Pixels, last: Pixels) -> tuple[Pixels, Pixels]:
        inside, beyond = _continue(first, axis, taps, jump_px)
        starts, ends = (np.moveaxis(each, axis, -1)[..., inside] + beyond for each in (first, last))
        return starts.min(-1), ends.max(-1)

    return paths.changed((*paths.indices[:axis], *paths.indices[axis + 1 :], target), read)


def _continue(first: Pixels, axis: int, taps: Pixels, jump_px: float) -> tuple[Pixels, Pixels]:
    """Return positions of the map that see the same as the taps, but for some pixels; and these pixels."""
    n = first.shape[axis]
    if taps.min() >= 0 and taps.max() < n:
        return taps, np.zeros_like(taps)
    periods = range(1, max(1, min(_LONGEST_PERIOD, n // 2)) + 1)
    found = ((period, step_along(first, axis, period)) for period in periods)
    period, step = next(((p, step) for p, step in found if step is not None), (1, None))
    turns = -(-np.maximum(taps - (n - 1), 0) // period) + np.minimum(taps, 0) // period
    beyond = np.sign(turns) * np.ceil(np.abs(turns) * (jump_px if step is None else step))
    return taps - turns * period, beyond.astype(np.int64)


def step_along(first: Pixels, axis: int, period: int = 1) -> int | None:
    """Return how many pixels further on positions see the same that are so far apart; None if it varies."""
    along = np.moveaxis(first, axis, 0)
    steps = along[period:] - along[:-period]
    return int(steps.flat[0]) if steps.size and (steps == steps.flat[0]).all() else None


def unite_paths(a: Paths, b: Paths) -> Paths:
    """Return paths of the same indices together; at each position the smaller one is near."""
    (first, last), (other_first, other_last) = a.near or (a.first, a.last), b.near or (b.first, b.last)
    reach, other = last - first, other_last - other_first
    is_nearer = (other >= 0) & ((reach < 0) | (other < reach))
    near = np.where(is_nearer, other_first, first), np.where(is_nearer, other_last, last)
    return Paths(a.indices, np.minimum(a.first, b.first), np.maximum(a.last, b.last), near)


def spread_paths(paths: Paths, indices: tuple[Index, ...]) -> Paths:
    """Return the same with the axes of more indices, in their order."""
    order = [paths.indices.index(index) for index in indices if index in paths.indices]
    shape = tuple(index.size if index in paths.indices else 1 for index in indices)
    sizes = tuple(index.size for index in indices)

    def spread(first: Pixels, last: Pixels) -> tuple[Pixels, Pixels]:
        start, end = (np.broadcast_to(x.transpose(order).reshape(shape), sizes) for x in (first, last))
        return start, end

    return paths.changed(indices, spread)
