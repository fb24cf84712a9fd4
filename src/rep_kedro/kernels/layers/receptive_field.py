"""Receptive fields along one axis of the image: which pixels each position of a tensor depends on.

A tensor's positions are counted by indices. Paths from the image to the tensor that depend on the same
indices are kept together, with the first and the last pixel that they reach from each position. Paths that
read a whole map (global pooling, gates, attention to all positions) reach the same pixels from everywhere;
they are kept apart, so that what windows alone reach stays visible.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rep_kedro.kernels.layers.paths import (
    NOWHERE,
    Index,
    Paths,
    Pixels,
    read_paths,
    spread_paths,
    step_along,
    unite_paths,
)


@dataclass(frozen=True)
class Sight:
    """What the positions of a tensor see along one axis of the image.

    Attributes:
        paths: Through windows alone.
        whole: First and last pixel that every position sees through a whole map; None if there is none.
        jump_px: Pixels between neighbouring positions; a fraction where they are finer than those.
    """

    paths: tuple[Paths, ...]
    whole: tuple[int, int] | None
    jump_px: float


@dataclass(frozen=True)
class ReceptiveField:
    """What one position of a layer sees along one axis.

    Attributes:
        size_px: Pixels from the first to the last that it depends on, over all paths; counts pixels beyond
            the image, and so may exceed it.
        windows_px: The same over paths through windows alone; None if every path reads a whole map.
        smallest_path_px: The same along the path on which it is smallest; None likewise.
        jump_px: Pixels between neighbouring positions, rounded, at least 1.
        sees_whole_map: Whether a path reads a whole map.
    """

    size_px: int
    windows_px: int | None
    smallest_path_px: int | None
    jump_px: int
    sees_whole_map: bool


def see_image(index: Index) -> Sight:
    """Return what the pixels of the image see: themselves."""
    pixels = np.arange(index.size, dtype=np.int64)
    return Sight((Paths((index,), pixels, pixels),), None, 1)


def see_nothing() -> Sight:
    """Return what a tensor sees that does not depend on the image along this axis."""
    return Sight((), None, 1)


def depends_on(sight: Sight, indices: Collection[Index]) -> bool:
    """Return whether what is seen differs along one of the indices."""
    return any(index in paths.indices for paths in sight.paths for index in indices)


def read_windows(sight: Sight, index: Index, target: Index, taps: Pixels, stride: float) -> Sight:
    """Return what is seen by positions that each read some positions along an index.

    Args:
        sight: Of what is read.
        index: Along which it is read.
        target: What counts the new positions.
        taps: Positions read, (target.size, n_taps); positions outside the map see what they would see if the
            map went on.
        stride: Positions between neighbouring windows.

    Source:
        Araujo et al. 2019, doi:10.23915/distill.00021, sections 2 and 3. Sizes agree with the recursion
        r' = r + (k - 1) d j, j' = j s.
    """
    jump = sight.jump_px
    steps = [step_along(p.first, p.indices.index(index)) for p in sight.paths if index in p.indices]
    paths = tuple(read_paths(each, index, target, taps, jump) for each in sight.paths)
    moved = max((jump if step is None else step for step in steps), default=0) or jump
    return Sight(paths, sight.whole, moved * stride if steps else jump)


def read_all(sight: Sight, gone: Collection[Index]) -> Sight:
    """Return what is seen by positions that read everything along some indices.

    Paths that then depend on no index any more read the whole map; others read a part of it, such as a window
    of an attention.
    """
    kept, whole = [], sight.whole
    for paths in sight.paths:
        if not any(index in gone for index in paths.indices):
            kept.append(paths)
            continue
        read = _read_all_paths(paths, gone)
        if read.indices:
            kept.append(read)
        elif read.first <= read.last:
            whole = _hull(whole, (int(read.first), int(read.last)))
    return Sight(tuple(kept), whole, sight.jump_px)


def _read_all_paths(paths: Paths, gone: Collection[Index]) -> Paths:
    axes = tuple(axis for axis, index in enumerate(paths.indices) if index in gone)
    indices = tuple(index for index in paths.indices if index not in gone)
    return paths.changed(indices, lambda first, last: (first.min(axis=axes), last.max(axis=axes)))


def pick_first(sight: Sight, gone: Collection[Index]) -> Sight:
    """Return what the first position along some indices sees."""
    return replace(sight, paths=tuple(_pick_paths(paths, gone) for paths in sight.paths))


def _pick_paths(paths: Paths, gone: Collection[Index]) -> Paths:
    place = tuple(0 if index in gone else slice(None) for index in paths.indices)
    indices = tuple(index for index in paths.indices if index not in gone)
    return paths.changed(indices, lambda first, last: (np.asarray(first[place]), np.asarray(last[place])))


def rename(sight: Sight, names: Mapping[Index, Index]) -> Sight:
    """Return the same with other indices of the same sizes."""
    renamed = (
        replace(paths, indices=tuple(names.get(index, index) for index in paths.indices))
        for paths in sight.paths
    )
    return replace(sight, paths=tuple(renamed))


def split_index(sight: Sight, index: Index, outer: Index, inner: Index) -> Sight:
    """Return the same with an index counted by two."""
    return replace(
        sight,
        paths=tuple(
            paths if index not in paths.indices else _split_paths(paths, index, outer, inner)
            for paths in sight.paths
        ),
    )


def _split_paths(paths: Paths, index: Index, outer: Index, inner: Index) -> Paths:
    axis = paths.indices.index(index)
    indices = (*paths.indices[:axis], outer, inner, *paths.indices[axis + 1 :])
    shape = tuple(each.size for each in indices)
    return paths.changed(indices, lambda first, last: (first.reshape(shape), last.reshape(shape)))


def merge_indices(sight: Sight, merged: Sequence[Index], target: Index) -> Sight:
    """Return the same with several indices, the outer one first, counted by one."""
    return replace(
        sight,
        paths=tuple(
            _merge_paths(paths, merged, target) if any(index in merged for index in paths.indices) else paths
            for paths in sight.paths
        ),
    )


def _merge_paths(paths: Paths, merged: Sequence[Index], target: Index) -> Paths:
    others = tuple(index for index in paths.indices if index not in merged)
    shape = (*(index.size for index in others), target.size)
    wide = spread_paths(paths, (*others, *merged))
    return wide.changed((*others, target), lambda first, last: (first.reshape(shape), last.reshape(shape)))


def place_at(sight: Sight, index: Index, target: Index, offset: int) -> Sight:
    """Return what is seen by positions along a longer index, of which those outside `index` see nothing."""
    placed = []
    for paths in sight.paths:
        others = tuple(each for each in paths.indices if each is not index)
        shape = (*(each.size for each in others), target.size)
        part = slice(offset, offset + index.size)

        def place(first: Pixels, last: Pixels, shape: Any = shape, part: Any = part) -> tuple[Pixels, Pixels]:
            starts, ends = np.full(shape, NOWHERE), np.full(shape, -NOWHERE)
            starts[..., part], ends[..., part] = first, last
            return starts, ends

        placed.append(spread_paths(paths, (*others, index)).changed((*others, target), place))
    return replace(sight, paths=tuple(placed))


def unite(sights: Sequence[Sight]) -> Sight:
    """Return what is seen by positions that read the same position of several tensors.

    Their distance is that of the first with positions of its own: in attention the queries, whose keys may be
    of a coarser map.
    """
    whole: tuple[int, int] | None = None
    united: list[Paths] = []
    for sight in sights:
        whole = _hull(whole, sight.whole)
    for paths in sorted((p for sight in sights for p in sight.paths), key=lambda p: -len(p.indices)):
        for place, kept in enumerate(united):
            if set(paths.indices) <= set(kept.indices):
                united[place] = unite_paths(kept, spread_paths(paths, kept.indices))
                break
        else:
            united.append(paths)
    leading = next((sight for sight in sights if sight.paths), sights[0])
    return Sight(tuple(united), whole, leading.jump_px)


def _hull(a: tuple[int, int] | None, b: tuple[int, int] | None) -> tuple[int, int] | None:
    if a is None or b is None:
        return a or b
    return min(a[0], b[0]), max(a[1], b[1])


def measure(sight: Sight) -> ReceptiveField | None:
    """Return the largest and smallest field of a tensor's positions; None if none sees the image."""
    indices = tuple(dict.fromkeys(index for paths in sight.paths for index in paths.indices))
    windows = 0
    if sight.paths:
        wide = [spread_paths(paths, indices) for paths in sight.paths]
        last, first = np.maximum.reduce([p.last for p in wide]), np.minimum.reduce([p.first for p in wide])
        windows = int((last - first).max()) + 1
    whole = 0 if sight.whole is None else sight.whole[1] - sight.whole[0] + 1
    if max(windows, whole) < 1:
        return None
    return ReceptiveField(
        size_px=max(windows, whole),
        windows_px=windows if windows > 0 else None,
        smallest_path_px=int(min(paths.smallest_px for paths in sight.paths)) if windows > 0 else None,
        jump_px=max(1, round(sight.jump_px)),
        sees_whole_map=sight.whole is not None,
    )
