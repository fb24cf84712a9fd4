"""Border layers and feasible sizes from receptive fields, by hand."""

from math import inf

import pytest

from rep_kedro.kernels.layers.border import (
    FeasibleSizes,
    WindowStep,
    find_border_layer,
    find_feasible_sizes,
    is_unproductive,
)
from rep_kedro.kernels.layers.receptive_field import ReceptiveField


def _field(size, smallest=None, *, sees_whole_map=False):
    return ReceptiveField(size, size, size if smallest is None else smallest, 1, sees_whole_map)


def _both(*sizes):
    return {f"c{place}": (_field(*each), _field(*each)) for place, each in enumerate(sizes)}


@pytest.mark.parametrize(
    ("sizes", "rule", "border"),
    [
        ([(3,), (5,), (9,), (17,)], "input", "c3"),  # c2 is the first that sees more than 8
        ([(3,), (5,), (7,), (8,)], "input", None),
        ([(3,), (8,), (9,), (17,)], "input", "c3"),  # c1 sees just the image
        ([(3,), (9,)], "input", None),  # nothing is fed by positions that see all
        ([(9, 3), (17, 9), (25, 3), (33, 11), (41, 12)], "smallest_path", "c3"),
        ([(9, 3), (17, 9), (25, 4), (33, 5), (41, 12)], "smallest_path", "c4"),
        ([(9, 9), (17, 9)], "smallest_path", "c0"),
        ([(9, 3), (17, 8)], "smallest_path", None),
        ([], "input", None),
    ],
)
def test_the_border_by_both_rules(sizes, rule, border):
    fields = _both(*sizes)
    assert find_border_layer(fields, list(fields), 8, rule=rule) == border


def test_a_layer_has_to_see_all_along_both_axes():
    fields = {"a": (_field(9), _field(5)), "b": (_field(17), _field(9)), "c": (_field(25), _field(13))}
    assert find_border_layer(fields, ["a", "b", "c"], 8) == "c"


def test_an_unknown_rule_or_layer_is_refused():
    fields = _both((3,))
    with pytest.raises(ValueError, match="unknown border rule 'max'; known: input, smallest_path"):
        find_border_layer(fields, ["c0"], 8, rule="max")
    with pytest.raises(ValueError, match="no receptive field for layer 'b'; known: c0"):
        find_border_layer(fields, ["b"], 8)


def _step(before, after, *, kernel=3, map_size=8, jump=1):
    return WindowStep(kernel, map_size, jump, before, after)


@pytest.mark.parametrize(
    ("before", "after", "steps", "expected"),
    [
        (8, 10, [_step(8, 10)], True),
        (7, 9, [_step(7, 9)], False),
        (8, 8, [_step(8, 8, kernel=1)], False),  # sees just the image, and no more
        (3, 9, [_step(3, 9, map_size=3)], True),  # a window as wide as its map
        (3, 9, [_step(3, 9, map_size=4)], False),
        (3, 11, [_step(8, 10), _step(3, 9)], False),  # one part of it is productive
        (9, 9, [], True),
        (8, 9, [], True),
        (8, 8, [], False),
        (inf, inf, [], True),
    ],
)
def test_a_layer_is_unproductive_where_all_it_reads_sees_the_image(before, after, steps, expected):
    assert is_unproductive(before, after, steps, 8) is expected


def test_feasible_sizes_of_six_convolutions_are_those_of_the_toolbox():
    steps = [_step(size, size + 2) for size in range(1, 13, 2)]
    fields = [_field(step.after_px) for step in steps]
    assert find_feasible_sizes(fields, steps) == FeasibleSizes(13, 11, 13)


def test_windows_of_one_position_ask_for_no_larger_image():
    steps = [_step(1, 3), _step(3, 3, kernel=1)]
    assert find_feasible_sizes([_field(3)], steps) == FeasibleSizes(3, 1, 3)
    assert find_feasible_sizes([_field(3)], steps[1:]) == FeasibleSizes(3, 1, 3)


def test_a_wide_window_on_a_coarse_map_needs_a_larger_image():
    steps = [_step(3, 5, kernel=3, jump=32)]
    assert find_feasible_sizes([_field(67, 5)], steps).smallest_px == 96


def test_paths_through_a_whole_map_do_not_count_for_feasible_sizes():
    gate = ReceptiveField(500, None, None, 1, sees_whole_map=True)
    steps = [_step(1, 3), _step(inf, inf, kernel=1, map_size=1)]
    assert find_feasible_sizes([_field(3), gate], steps) == FeasibleSizes(3, 1, 3)
    assert find_feasible_sizes([gate], steps) is None
    assert find_feasible_sizes([_field(3)], []) is None
