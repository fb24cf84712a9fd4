"""Receptive fields along one axis of the image: which pixels each position of a tensor depends on.

A tensor's positions are counted by indices. Paths from the image to the tensor that depend on the same
indices are kept together, with the first and the last pixel that they reach from each position. Paths that
read a whole map (global pooling, gates, attention to all positions) reach the same pixels from everywhere;
they are kept apart, so that what windows alone reach stays visible.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.int64]
_NOWHERE = np.int64(2**40)  # first pixel of a position that sees nothing; the last one is its negative


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
        indices: What the position is counted by; the axes of `first` and `last`.
        first: First pixel that is seen; negative in the padding.
        last: Last pixel that is seen; may exceed the image.
        smallest_px: 1 + sum of (k - 1) d j along the path on which it is smallest.
    """

    indices: tuple[Index, ...]
    first: Pixels
    last: Pixels
    smallest_px: int


@dataclass(frozen=True)
class Sight:
    """What the positions of a tensor see along one axis of the image.

    Attributes:
        paths: Through windows alone.
        whole: First and last pixel that every position sees through a whole map; None if there is none.
        jump_px: Pixels between neighbouring positions.
    """

    paths: tuple[Paths, ...]
    whole: tuple[int, int] | None
    jump_px: int


@dataclass(frozen=True)
class ReceptiveField:
    """What one position of a layer sees along one axis.

    Attributes:
        size_px: Pixels from the first to the last that it depends on, over all paths; counts pixels beyond
            the image, and so may exceed it.
        windows_px: The same over paths through windows alone; None if every path reads a whole map.
        smallest_path_px: The same along the path on which it is smallest; None likewise.
        jump_px: Pixels between neighbouring positions.
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
    return Sight((Paths((index,), pixels, pixels, 1),), None, 1)


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
        taps: Positions read, (target.size, n_taps), in ascending order; positions outside the map see what
            they would see if the map went on.
        stride: Positions between neighbouring windows.

    Source:
        Araujo et al. 2019, doi:10.23915/distill.00021, sections 2 and 3. Sizes agree with the recursion
        r' = r + (k - 1) d j, j' = j s.
    """
    jump = sight.jump_px
    moved = [_jump_along(paths, index, jump) for paths in sight.paths if index in paths.indices]
    paths = [_read_paths(each, index, target, taps, jump) for each in sight.paths]
    jump = max(1, round((max(moved) or jump) * stride)) if moved else jump
    return Sight(tuple(paths), sight.whole, jump)


def _read_paths(paths: Paths, index: Index, target: Index, taps: Pixels, jump_px: int) -> Paths:
    if index not in paths.indices:
        return paths
    axis, jump = paths.indices.index(index), _jump_along(paths, index, jump_px)
    inside = taps.clip(0, index.size - 1)
    beyond = (taps - inside) * jump
    first, last = (np.moveaxis(each, axis, -1)[..., inside] + beyond for each in (paths.first, paths.last))
    indices = (*paths.indices[:axis], *paths.indices[axis + 1 :], target)
    reach = int((taps[:, -1] - taps[:, 0]).max())
    return Paths(indices, first.min(-1), last.max(-1), paths.smallest_px + reach * jump)


def _jump_along(paths: Paths, index: Index, jump_px: int) -> int:
    """Return the pixels between neighbours along an index; of the map where they are irregular or alone."""
    if index.size == 1:
        return jump_px
    steps = np.diff(paths.first, axis=paths.indices.index(index))
    return int(steps.flat[0]) if (steps == steps.flat[0]).all() else jump_px


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
        axes = tuple(axis for axis, index in enumerate(paths.indices) if index in gone)
        reach = sum(
            (paths.indices[a].size - 1) * _jump_along(paths, paths.indices[a], sight.jump_px) for a in axes
        )
        indices = tuple(index for index in paths.indices if index not in gone)
        first, last = paths.first.min(axis=axes), paths.last.max(axis=axes)
        if indices:
            kept.append(Paths(indices, first, last, paths.smallest_px + reach))
        elif first <= last:
            whole = _hull(whole, (int(first), int(last)))
    return Sight(tuple(kept), whole, sight.jump_px)


def pick_first(sight: Sight, gone: Collection[Index]) -> Sight:
    """Return what the first position along some indices sees."""
    return replace(sight, paths=tuple(_pick_paths(paths, gone) for paths in sight.paths))


def _pick_paths(paths: Paths, gone: Collection[Index]) -> Paths:
    place = tuple(0 if index in gone else slice(None) for index in paths.indices)
    indices = tuple(index for index in paths.indices if index not in gone)
    return Paths(indices, np.asarray(paths.first[place]), np.asarray(paths.last[place]), paths.smallest_px)


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
    return replace(paths, indices=indices, first=paths.first.reshape(shape), last=paths.last.reshape(shape))


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
    first, last = (
        each.reshape(*(index.size for index in others), target.size)
        for each in _spread(paths, (*others, *merged))
    )
    return replace(paths, indices=(*others, target), first=first, last=last)


def place_at(sight: Sight, index: Index, target: Index, offset: int) -> Sight:
    """Return what is seen by positions along a longer index, of which those outside `index` see nothing."""
    placed = []
    for paths in sight.paths:
        others = tuple(each for each in paths.indices if each is not index)
        shape = (*(each.size for each in others), target.size)
        first, last = np.full(shape, _NOWHERE), np.full(shape, -_NOWHERE)
        part = slice(offset, offset + index.size)
        first[..., part], last[..., part] = _spread(paths, (*others, index))
        placed.append(replace(paths, indices=(*others, target), first=first, last=last))
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
                first, last = _spread(paths, kept.indices)
                united[place] = Paths(
                    kept.indices,
                    np.minimum(kept.first, first),
                    np.maximum(kept.last, last),
                    min(kept.smallest_px, paths.smallest_px),
                )
                break
        else:
            united.append(paths)
    leading = next((sight for sight in sights if sight.paths), sights[0])
    return Sight(tuple(united), whole, leading.jump_px)


def _spread(paths: Paths, indices: tuple[Index, ...]) -> tuple[Pixels, Pixels]:
    """Return first and last pixels with the axes of more indices, in their order."""
    order = [paths.indices.index(index) for index in indices if index in paths.indices]
    shape = tuple(index.size if index in paths.indices else 1 for index in indices)
    sizes = tuple(index.size for index in indices)
    first, last = (
        np.broadcast_to(each.transpose(order).reshape(shape), sizes) for each in (paths.first, paths.last)
    )
    return first, last


def _hull(a: tuple[int, int] | None, b: tuple[int, int] | None) -> tuple[int, int] | None:
    if a is None or b is None:
        return a or b
    return min(a[0], b[0]), max(a[1], b[1])


def measure(sight: Sight) -> ReceptiveField | None:
    """Return the largest and smallest field of a tensor's positions; None if none sees the image."""
    indices = tuple(dict.fromkeys(index for paths in sight.paths for index in paths.indices))
    windows = 0
    if sight.paths:
        firsts, lasts = zip(*(_spread(paths, indices) for paths in sight.paths), strict=True)
        windows = int((np.maximum.reduce(lasts) - np.minimum.reduce(firsts)).max()) + 1
    whole = 0 if sight.whole is None else sight.whole[1] - sight.whole[0] + 1
    if max(windows, whole) < 1:
        return None
    return ReceptiveField(
        size_px=max(windows, whole),
        windows_px=windows if windows > 0 else None,
        smallest_path_px=min(paths.smallest_px for paths in sight.paths) if windows > 0 else None,
        jump_px=sight.jump_px,
        sees_whole_map=sight.whole is not None,
    )
