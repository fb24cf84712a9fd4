"""Tensors whose axes are counted by indices: reshaping, broadcasting, joining, reading windows.

Only what a position sees of the image is followed, never a value.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from rep_kedro.kernels.layers.paths import Index, Pixels
from rep_kedro.kernels.layers.receptive_field import (
    Sight,
    depends_on,
    merge_indices,
    pick_first,
    place_at,
    read_all,
    read_windows,
    rename,
    see_image,
    split_index,
    unite,
)

Dim = tuple[Index, ...]


@dataclass(frozen=True)
class Sighted:
    """A tensor that depends on the image.

    Attributes:
        dims: By axis of the tensor, the indices that count it, the outer one first; none where its size is 1.
        rows: What its positions see along the rows of the image.
        columns: The same along its columns.
    """

    dims: tuple[Dim, ...]
    rows: Sight
    columns: Sight

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the tensor."""
        return tuple(prod(_sizes(dim)) for dim in self.dims)


def image_of(shape: tuple[int, int, int, int]) -> Sighted:
    """Return the image as a tensor (1, channels, rows, columns)."""
    rows, columns = Index(shape[2]), Index(shape[3])
    return Sighted(((), (Index(shape[1]),), (rows,), (columns,)), see_image(rows), see_image(columns))


def _changed(x: Sighted, dims: Sequence[Dim], change: Callable[[Sight], Sight]) -> Sighted:
    return Sighted(tuple(dims), change(x.rows), change(x.columns))


def _depends_on(x: Sighted, indices: Dim) -> bool:
    return depends_on(x.rows, indices) or depends_on(x.columns, indices)


def permute(x: Sighted, order: Sequence[int]) -> Sighted:
    """Return the axes in another order."""
    return Sighted(tuple(x.dims[axis] for axis in order), x.rows, x.columns)


def reshape(x: Sighted, shape: Sequence[int]) -> Sighted:
    """Return the same numbers in another shape of as many, row by row."""
    rest, dims = [index for dim in x.dims for index in dim], []
    for size in shape:
        dim: list[Index] = []
        if size == 1 and rest and rest[0].size == 1:
            dim.append(rest.pop(0))
        left = size
        while left > 1:
            index = rest.pop(0)
            if left % index.size == 0:
                dim.append(index)
                left //= index.size
            elif index.size % left == 0:
                outer, inner = Index(left), Index(index.size // left)
                x = _split(x, index, outer, inner)
                dim.append(outer)
                rest.insert(0, inner)
                left = 1
            else:  # the parts do not fit into each other: count two indices by one
                merged = Index(index.size * rest[0].size)
                x = _merge(x, (index, rest.pop(0)), merged)
                rest.insert(0, merged)
        dims.append(tuple(dim))
    if rest and dims:  # of size 1
        dims[-1] = (*dims[-1], *rest)
    return Sighted(tuple(dims), x.rows, x.columns)


def _split(x: Sighted, index: Index, outer: Index, inner: Index) -> Sighted:
    # the axes, which `reshape` makes itself, are those of before; so in `_merge`
    return _changed(
        x, x.dims, lambda sight: split_index(sight, index, outer, inner)
    )  # reshape makes the axes


def _merge(x: Sighted, merged: Dim, target: Index) -> Sighted:
    if not _depends_on(x, merged):
        return x
    return _changed(x, x.dims, lambda sight: merge_indices(sight, merged, target))


def _with_one_index(x: Sighted, axis: int) -> tuple[Sighted, Index]:
    """Return the tensor with one index along an axis, and that index."""
    dim = x.dims[axis]
    if len(dim) == 1:
        return x, dim[0]
    index = Index(x.shape[axis])
    dims = (*x.dims[:axis], (index,), *x.dims[axis + 1 :])
    merged = _merge(x, dim, index)
    return Sighted(dims, merged.rows, merged.columns), index


def read(x: Sighted, axis: int, taps: Pixels, stride: float = 1) -> Sighted:
    """Return the tensor whose positions along an axis each read some positions of it.

    Args:
        x: The tensor.
        axis: Along which it is read.
        taps: Positions read, (new size, n_taps); may exceed the map.
        stride: Positions between neighbouring windows.
    """
    x, index = _with_one_index(x, axis)
    target = Index(len(taps))
    dims = (*x.dims[:axis], (target,), *x.dims[axis + 1 :])
    return _changed(x, dims, lambda sight: read_windows(sight, index, target, taps, stride))


def select(x: Sighted, axis: int, position: int) -> Sighted:
    """Return one position along an axis, which is left out."""
    x = read(x, axis, np.array([[position]]))
    gone = x.dims[axis]
    return _changed(x, [*x.dims[:axis], *x.dims[axis + 1 :]], lambda sight: pick_first(sight, gone))


def reduce(x: Sighted, axes: Sequence[int]) -> Sighted:
    """Return the tensor that reads everything along some axes, which have size 1 then."""
    gone = {index for axis in axes for index in x.dims[axis]}
    dims = [() if axis in axes else dim for axis, dim in enumerate(x.dims)]
    return _changed(x, dims, lambda sight: read_all(sight, gone))


def leave_out(x: Sighted, axes: Sequence[int]) -> Sighted:
    """Return the tensor without some axes of size 1."""
    kept = [axis for axis in range(len(x.dims)) if axis not in axes]
    gone = {index for axis in axes for index in x.dims[axis]}
    return _changed(x, [x.dims[axis] for axis in kept], lambda sight: pick_first(sight, gone))


def insert(x: Sighted, axis: int) -> Sighted:
    """Return the tensor with one more axis of size 1."""
    return Sighted((*x.dims[:axis], (), *x.dims[axis:]), x.rows, x.columns)


def expand(x: Sighted, shape: Sequence[int]) -> Sighted:
    """Return the tensor broadcast to a shape."""
    dims: list[Dim] = [()] * (len(shape) - len(x.dims)) + list(x.dims)
    widened = [a for a, size in enumerate(shape) if size != 1 and prod(i.size for i in dims[a]) == 1]
    gone = {index for axis in widened for index in dims[axis]}
    for axis in widened:
        dims[axis] = (Index(shape[axis]),)
    return _changed(x, dims, lambda sight: pick_first(sight, gone))


def combine(tensors: Sequence[Sighted], shape: Sequence[int]) -> Sighted:
    """Return the tensor whose positions read the same position of several tensors, broadcast to a shape."""
    total = expand(tensors[0], shape)
    for other in tensors[1:]:
        total, other = _align(total, expand(_fresh(other), shape))  # noqa: PLW2901
        total = Sighted(total.dims, unite((total.rows, other.rows)), unite((total.columns, other.columns)))
    return total


def _fresh(x: Sighted) -> Sighted:
    """Return the tensor with indices of its own."""
    names = {index: Index(index.size) for dim in x.dims for index in dim}
    return _changed(
        x, [tuple(names[index] for index in dim) for dim in x.dims], lambda sight: rename(sight, names)
    )


def _align(a: Sighted, b: Sighted) -> tuple[Sighted, Sighted]:
    """Return two tensors of one shape, with the same indices."""
    for axis in range(len(a.dims)):
        if not a.dims[axis]:  # of size 1: the other may know it as a position
            a = Sighted((*a.dims[:axis], b.dims[axis], *a.dims[axis + 1 :]), a.rows, a.columns)
        elif b.dims[axis] and _sizes(a.dims[axis]) != _sizes(b.dims[axis]):
            sizes = _common_sizes(a.dims[axis], b.dims[axis])
            a, b = (_with_sizes(x, axis, sizes) for x in (a, b))
    pairs = zip(a.dims, b.dims, strict=True)
    names = {old: new for da, db in pairs if db for old, new in zip(db, da, strict=True)}
    return a, _changed(b, a.dims, lambda sight: rename(sight, names))


def _sizes(dim: Dim) -> list[int]:
    return [index.size for index in dim]


def _common_sizes(a: Dim, b: Dim) -> list[int]:
    """Return sizes of indices into which two counts of one axis both can be split."""
    ends = [{int(end) for end in np.cumprod(_sizes(dim)[::-1])} for dim in (a, b)]
    inner, sizes = 1, []
    for end in sorted(ends[0] | ends[1]):
        if end % inner:
            return [prod(_sizes(a))]
        if end > inner:
            sizes.append(end // inner)
        inner = end
    return sizes[::-1] or [1]


def _with_sizes(x: Sighted, axis: int, sizes: Sequence[int]) -> Sighted:
    """Return the tensor with indices of given sizes along an axis."""
    if _sizes(x.dims[axis]) == list(sizes):
        return x
    if len(sizes) == 1:
        return _with_one_index(x, axis)[0]
    ones = {index for index in x.dims[axis] if index.size == 1}
    x = _changed(x, x.dims, lambda sight: pick_first(sight, ones))
    part = reshape(Sighted((tuple(i for i in x.dims[axis] if i not in ones),), x.rows, x.columns), sizes)
    dim = tuple(index for each in part.dims for index in each)
    return Sighted((*x.dims[:axis], dim, *x.dims[axis + 1 :]), part.rows, part.columns)


def join(parts: Sequence[Sighted | None], sizes: Sequence[int], axis: int, shape: Sequence[int]) -> Sighted:
    """Return tensors put together along an axis.

    Args:
        parts: The tensors; None for those that do not depend on the image.
        sizes: Of each along the axis.
        axis: Along which they are joined.
        shape: Of the whole.
    """
    known = [(part, sum(sizes[:place])) for place, part in enumerate(parts) if part is not None]
    if not any(_depends_on(part, part.dims[axis]) for part, _ in known):  # channels: all see what each sees
        return combine([reduce(part, [axis]) for part, _ in known], shape)
    target = Index(shape[axis])
    return combine([_placed(part, axis, target, offset) for part, offset in known], shape)


def _placed(x: Sighted, axis: int, target: Index, offset: int) -> Sighted:
    x, index = _with_one_index(x, axis)
    dims = (*x.dims[:axis], (target,), *x.dims[axis + 1 :])
    return _changed(x, dims, lambda sight: place_at(sight, index, target, offset))


def resize(x: Sighted, shape: Sequence[int]) -> Sighted | None:
    """Return the tensor with other sizes of axes along which all see the same; None where they do not."""
    dims = list(x.dims)
    for axis, size in enumerate(shape):
        if x.shape[axis] != size:
            if _depends_on(x, x.dims[axis]):
                return None
            dims[axis] = (Index(size),)
    return Sighted(tuple(dims), x.rows, x.columns)
