"""Activations become samples and come back; other sizes are interpolated; maps on the way between two."""

import pytest
import torch

from rep_kedro.kernels.layers.streaming import flatten_positions
from rep_kedro.kernels.stitching.activations import from_positions, match_positions, to_positions
from rep_kedro.kernels.stitching.compaction import compact_features
from rep_kedro.kernels.stitching.maps import AffineMap, apply_affine_map
from rep_kedro.kernels.stitching.paths import interpolate_maps
from rep_kedro.kernels.stitching.running import EndLayer, map_positions, run_maps, run_tail_with_later


def _draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _map(n_end, n_front, seed=0):
    return AffineMap(_draw(n_end, n_front, seed=seed).double(), _draw(n_end, seed=seed + 1).double(), n_end)


@pytest.mark.parametrize("shape", [(3, 2, 5), (4, 3), (6,)])
@pytest.mark.parametrize("flatten", [False, True])
def test_activations_come_back_as_they_were(shape, flatten):
    activation = _draw(7, *shape)
    samples = to_positions(activation, flatten=flatten)
    assert samples.is_contiguous()
    assert torch.equal(from_positions(samples, shape, flatten=flatten), activation)
    if not flatten:
        assert torch.equal(samples.flatten(0, 1), flatten_positions(activation))


@pytest.mark.parametrize("shape", [(3, 2, 5), (4, 3), (3,)])
def test_mapped_samples_are_mapped_activations(shape):
    activation, fitted = _draw(7, *shape), _map(2, 3)
    ends = (2, *shape[1:]) if len(shape) == 3 else (*shape[:-1], 2)
    weight, bias = (x.float()[None] for x in fitted[:2])
    samples = to_positions(activation)
    mapped = from_positions(map_positions(weight, bias, samples[None])[0], ends)
    torch.testing.assert_close(mapped, apply_affine_map(fitted, activation))


def test_maps_and_a_change_of_size_may_be_exchanged():
    activation, fitted = _draw(4, 3, 8, 6), _map(2, 3)
    small = match_positions(activation, (9, 4, 5))
    assert small.shape == (4, 3, 4, 5)
    expected = match_positions(apply_affine_map(fitted, activation), (2, 4, 5))
    torch.testing.assert_close(apply_affine_map(fitted, small), expected)
    assert match_positions(activation, (5, 8, 6)) is activation


def test_a_map_of_half_the_size_averages_four_neighbours():
    activation = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert match_positions(activation, (1, 2, 2)).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]


@pytest.mark.parametrize(
    ("own", "other", "message"),
    [
        ((3, 4, 4), (3,), "flatten: true joins them"),
        ((5, 3), (4, 3), "equally many, got 5 and 4"),
    ],
)
def test_layers_without_common_positions_are_refused(own, other, message):
    with pytest.raises(ValueError, match=message):
        match_positions(_draw(2, *own), other)


def test_an_activation_of_another_number_of_axes_is_refused():
    with pytest.raises(ValueError, match=r"got shape \(2, 1, 1, 1, 1\)"):
        to_positions(torch.zeros(2, 1, 1, 1, 1))


@pytest.mark.parametrize("stimuli_per_call", [1, 5, 1000])
def test_several_maps_run_at_once_as_one_by_one(stimuli_per_call):
    samples, maps = _draw(11, 4, 3), [_map(2, 3, seed) for seed in range(3)]
    end = EndLayer((2, 2, 2), lambda x: torch.tanh(x).flatten(1))
    together = run_maps(maps, samples, end, stimuli_per_call=stimuli_per_call)
    for fitted, found in zip(maps, together, strict=True):
        activation = from_positions(samples, (3, 2, 2))
        torch.testing.assert_close(found, torch.tanh(apply_affine_map(fitted, activation)).flatten(1))


@pytest.mark.parametrize("maps", [[], [_map(2, 4)]])
def test_maps_that_do_not_fit_the_samples_are_refused(maps):
    with pytest.raises(ValueError, match=r"samples of shape \(5, 1, 3\)"):
        run_maps(maps, _draw(5, 1, 3), EndLayer((2,), lambda x: x))


def test_nothing_to_run_and_no_later_layers_are_refused():
    end = EndLayer((2,), lambda x: x)
    with pytest.raises(ValueError, match=r"samples of shape \(0, 1, 3\)"):
        run_maps([_map(2, 3)], _draw(0, 1, 3), end)
    with pytest.raises(ValueError, match="give tail_with_later"):
        run_tail_with_later(end, _draw(1, 5, 1, 2))


def test_a_path_has_both_ends_and_equal_steps():
    first, second = _map(2, 3), _map(2, 3, seed=5)
    path = interpolate_maps(first, second)
    assert len(path) == 11
    assert path[0] is first
    assert path[10] is second
    for place, fitted in enumerate(path):
        share = place / 10
        expected = (1 - share) * first.weight + share * second.weight
        torch.testing.assert_close(fitted.weight, expected)
        torch.testing.assert_close(fitted.bias, (1 - share) * first.bias + share * second.bias)


def test_maps_of_a_path_have_their_own_rank():
    nothing = AffineMap(torch.zeros(2, 3).double(), torch.zeros(2).double(), 0)
    assert [fitted.rank for fitted in interpolate_maps(nothing, _map(2, 3), n_points=3)] == [0, 2, 2]


def test_a_path_needs_maps_of_one_shape_and_two_points():
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(2, 4\)"):
        interpolate_maps(_map(2, 3), _map(2, 4))
    with pytest.raises(ValueError, match="at least 2 points, got 1"):
        interpolate_maps(_map(2, 3), _map(2, 3), n_points=1)


@pytest.mark.parametrize("memory_bytes", [1, 10**6])
def test_compact_features_have_the_inner_products_of_the_centred_ones(memory_bytes):
    features = torch.randn(7, 40, generator=torch.Generator().manual_seed(0)) * 100 + 1000
    found = compact_features(features, memory_bytes=memory_bytes)
    centred = features.double() - features.double().mean(dim=0)
    assert found.shape == (7, 6)
    torch.testing.assert_close(found @ found.T, centred @ centred.T, rtol=1e-10, atol=1e-6)


def test_compact_features_have_the_rank_of_the_features():
    generator = torch.Generator().manual_seed(0)
    few = torch.randn(9, 2, generator=generator).double() @ torch.randn(2, 30, generator=generator).double()
    assert compact_features(few, memory_bytes=10**6).shape == (9, 2)
    same = compact_features(torch.full((9, 30), 0.1), memory_bytes=10**6)
    assert torch.equal(same, torch.zeros(9, 1).double())
    noise = 1.0 + 1e-9 * few
    assert torch.equal(compact_features(noise, memory_bytes=10**6), torch.zeros(9, 1).double())
    few[3, 4] = torch.inf
    with pytest.raises(ValueError, match="must be finite to be compared"):
        compact_features(few, memory_bytes=10**6)
