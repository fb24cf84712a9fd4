"""Receptive fields along one axis: brute force over random graphs, counting by other indices, hard inputs."""

import random

import numpy as np
import pytest
from tests.reference import receptive_field as reference

from rep_kedro.kernels.layers.receptive_field import (
    Index,
    ReceptiveField,
    measure,
    merge_indices,
    pick_first,
    place_at,
    read_all,
    read_windows,
    rename,
    see_image,
    see_nothing,
    split_index,
    unite,
)


def _read(sight, index, kernel, stride=1, padding=0, dilation=1, n_out=None):
    """Return what a convolution sees, and what counts its positions."""
    if n_out is None:
        n_out = (index.size + 2 * padding - (kernel - 1) * dilation - 1) // stride + 1
    target = Index(n_out)
    taps = np.arange(n_out)[:, None] * stride - padding + np.arange(kernel) * dilation
    return read_windows(sight, index, target, taps, stride), target


def _ends(sight):
    (paths,) = sight.paths
    return list(zip(paths.first.flatten().tolist(), paths.last.flatten().tolist(), strict=True))


def _draw_graph(seed):
    """A random graph in which every second layer may join two earlier branches of equal map."""
    draw = random.Random(seed)  # noqa: S311
    layers, groups = [], {(1, 23): [()]}
    for i in range(8):
        key = draw.choice([k for k in groups if groups[k]])
        source = draw.choice(groups[key])
        jump, size = key
        if draw.random() < 0.35 and len([s for s in groups[key] if s]) > 1:
            inputs = tuple(draw.sample([s[0] for s in groups[key] if s], 2))
            layer = (f"l{i}", inputs, 1, 1, 0, 1)
        else:
            kernel, dilation = draw.choice([(1, 1), (2, 1), (3, 1), (3, 2), (4, 1)])
            layer = (f"l{i}", source, kernel, draw.choice([1, 1, 2]), draw.choice([0, 1, 2]), dilation)
        reach = (layer[2] - 1) * layer[5] + 1
        if size + 2 * layer[4] < reach:
            continue
        layers.append(layer)
        n_out = (size + 2 * layer[4] - reach) // layer[3] + 1
        groups.setdefault((jump * layer[3], n_out), []).append((f"l{i}",))
    return layers


def _follow(graph, input_px):
    """Return what each layer of a graph sees, with the index that counts its positions."""
    image = Index(input_px)
    seen = {}
    for name, inputs, kernel, stride, padding, dilation in graph:
        sources = [seen[each] for each in inputs] or [(see_image(image), image)]
        index = sources[0][1]
        united = unite([rename(sight, {own: index}) for sight, own in sources])
        seen[name] = _read(united, index, kernel, stride, padding, dilation)
    return seen


@pytest.mark.parametrize("seed", range(40))
def test_every_position_sees_what_following_every_pixel_gives(seed):
    graph = _draw_graph(seed)
    traced, shortest = reference.trace_receptive_fields(graph, 23), reference.smallest_path(graph, 23)
    for name, (sight, index) in _follow(graph, 23).items():
        assert index.size == len(traced[name])
        assert _ends(sight) == [(min(pixels), max(pixels)) for pixels in traced[name]]
        field = measure(sight)
        assert field.smallest_path_px == shortest[name]
        assert field.size_px == field.windows_px == max(max(p) - min(p) + 1 for p in traced[name])
        assert not field.sees_whole_map


def test_a_network_of_published_sizes():
    # VGG-11 at 32 px: conv, pool, conv, pool, conv conv, pool, ...; 3, 8, 18, 26, 46, 62, 102, 134
    sight, index, sizes = see_image(first := Index(32)), first, []
    for kind in "cpcpccpccpcc":
        sight, index = _read(sight, index, *((3, 1, 1) if kind == "c" else (2, 2)))
        sizes += [measure(sight).size_px] if kind == "c" else []
    assert sizes == [3, 8, 18, 26, 46, 62, 102, 134]


def test_paths_that_are_not_centred_on_each_other_unite_to_more_than_the_larger_one():
    index, target = Index(10), Index(10)
    left, right = (
        read_windows(see_image(index), index, target, np.arange(10)[:, None] + taps, 1)
        for taps in (np.arange(-2, 1), np.arange(3))
    )
    field = measure(unite([left, right]))
    assert (field.size_px, field.smallest_path_px) == (5, 3)


def test_a_single_position_still_grows_by_the_jump_of_its_map():
    sight, index = see_image(first := Index(4)), first
    for _ in range(2):
        sight, index = _read(sight, index, 2, 2)  # 4, 2, 1 positions
    sight, index = _read(sight, index, 3, 1, 1)
    assert index.size == 1
    assert measure(sight).size_px == 4 + 2 * 4
    assert measure(sight).jump_px == 4


def test_windows_may_be_unequal_and_lie_partly_beyond_the_map():
    sight, target = see_image(index := Index(5)), Index(3)
    taps = np.array([[0, 1], [2, 3], [4, 4]])  # adaptive pooling of 5 to 3, the last tap repeated
    assert _ends(read_windows(sight, index, target, taps, 5 / 3)) == [(0, 1), (2, 3), (4, 4)]
    assert _ends(_read(sight, index, 2, 2, 0, n_out=3)[0]) == [(0, 1), (2, 3), (4, 5)]  # ceil mode


def test_reading_a_whole_map_is_kept_apart_from_windows():
    sight, index = _read(see_image(first := Index(8)), first, 3, 1, 1)
    pooled = read_all(sight, {index})
    assert (pooled.paths, pooled.whole) == ((), (-1, 8))
    field = measure(pooled)
    assert (field.size_px, field.windows_px, field.smallest_path_px) == (10, None, None)
    gated = measure(unite([sight, pooled]))
    assert (gated.size_px, gated.windows_px, gated.smallest_path_px, gated.sees_whole_map) == (10, 3, 3, True)


def test_attention_within_windows_reads_a_window_and_no_whole_map():
    sight, (outer, inner) = see_image(index := Index(12)), (Index(3), Index(4))
    within = read_all(split_index(sight, index, outer, inner), {inner})
    assert _ends(within) == [(0, 3), (4, 7), (8, 11)]
    assert (within.whole, measure(within).smallest_path_px) == (None, 4)
    both = unite([within, split_index(sight, index, outer, inner)])
    assert len(both.paths) == 1
    assert measure(both) == ReceptiveField(4, 4, 1, 1, sees_whole_map=False)


def test_counting_by_other_indices_changes_nothing():
    sight, index = _read(see_image(first := Index(12)), first, 3, 1, 1)
    outer, inner, merged = Index(3), Index(4), Index(12)
    again = merge_indices(split_index(sight, index, outer, inner), (outer, inner), merged)
    assert _ends(again) == _ends(sight)
    swapped = merge_indices(split_index(sight, index, outer, inner), (inner, outer), merged)
    ends = _ends(sight)
    assert _ends(swapped) == [ends[o * 4 + i] for i in range(4) for o in range(3)]


def test_positions_that_see_nothing_add_nothing():
    index, target = Index(4), Index(6)
    placed = place_at(see_image(index), index, target, 1)
    assert measure(placed).size_px == 1
    whole = read_all(placed, {target})
    assert whole.whole == (0, 3)
    alone = pick_first(placed, {target})
    assert measure(alone) is None
    assert measure(see_nothing()) is None
    assert measure(unite([alone, see_nothing()])) is None


def test_whole_maps_unite_to_what_both_see():
    (sight, index), (wider, other) = (
        _read(see_image(first := Index(8)), first, kernel, 1, kernel // 2) for kernel in (3, 5)
    )
    narrow, wide = read_all(sight, {index}), read_all(wider, {other})
    assert (narrow.whole, wide.whole) == ((-1, 8), (-2, 9))
    assert unite([narrow, wide]).whole == unite([wide, narrow]).whole == (-2, 9)
    assert unite([narrow, see_nothing()]).whole == (-1, 8)


def test_the_map_goes_on_as_its_positions_do_and_by_the_jump_where_they_are_uneven():
    image = see_image(index := Index(12))
    even, uneven, same = Index(4), Index(4), Index(4)
    by_three = read_windows(image, index, even, 3 * np.arange(4)[:, None], 1)
    unevenly = read_windows(image, index, uneven, np.array([[0], [1], [4], [6]]), 2)
    one_place = read_windows(image, index, same, np.zeros((4, 1), int), 4)
    beyond = np.arange(4)[:, None] + np.arange(2)  # the last window ends behind the map
    found = [
        read_windows(sight, counted, Index(4), beyond, 1)
        for sight, counted in ((by_three, even), (unevenly, uneven), (one_place, same))
    ]
    assert _ends(found[0]) == [(0, 3), (3, 6), (6, 9), (9, 12)]
    assert _ends(found[1]) == [(0, 1), (1, 4), (4, 6), (6, 8)]
    assert [sight.jump_px for sight in found] == [3, 2, 4]
