"""Positions of a map: chosen by rule or at random, and read as samples."""

import pytest
import torch
from tests.reference import positions as reference

from rep_kedro.kernels.layers.positions import (
    WAYS,
    count_positions,
    count_sample_features,
    pick_nearest_positions,
    pick_random_positions,
    read_samples,
)

MAPS = torch.randn(3, 2, 5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("maps", [MAPS, MAPS[:, :, :1, :2], MAPS[:, :, :1, :1]])
def test_samples_are_those_of_the_definition(way, maps):
    rows = read_samples(maps, way)
    expected = torch.tensor(reference.read_map(maps.tolist(), way), dtype=torch.float64)
    torch.testing.assert_close(rows, expected, rtol=1e-14, atol=1e-15)
    assert rows.shape[1] == count_sample_features(tuple(maps.shape), way, count_positions(tuple(maps.shape)))


@pytest.mark.parametrize("way", WAYS)
def test_a_sequence_is_read_as_a_map_of_one_row(way):
    tokens = MAPS.flatten(2).transpose(1, 2)
    rows = read_samples(tokens, way)
    assert torch.equal(rows, read_samples(MAPS.flatten(2)[:, :, None], way))
    assert rows.shape[1] == count_sample_features(tuple(tokens.shape), way, 20)


def test_nearest_positions_of_a_sequence_follow_the_index_rule():
    tokens = MAPS.flatten(2).transpose(1, 2)
    assert torch.equal(pick_nearest_positions(tokens, 3), tokens[:, [0, 6, 13]])
    assert torch.equal(pick_nearest_positions(tokens, 20), tokens)


@pytest.mark.parametrize("side", [1, 2, 3, 4, 5, 9])
def test_nearest_positions_follow_the_index_rule(side):
    expected = torch.tensor(reference.pick_nearest(MAPS.tolist(), side), dtype=torch.float64)
    assert torch.equal(pick_nearest_positions(MAPS, side), expected)


@pytest.mark.parametrize(("height", "width", "side"), [(8, 8, 4), (7, 5, 3), (32, 32, 1), (6, 6, 6)])
def test_nearest_positions_equal_the_interpolation_of_delve(height, width, side):
    maps = torch.randn(2, 3, height, width, generator=_generator())
    expected = torch.nn.functional.interpolate(maps, size=(side, side), mode="nearest")
    assert torch.equal(pick_nearest_positions(maps, side), expected)


def test_random_positions_of_a_stimulus_differ_and_those_of_a_batch_are_not_shared():
    places = torch.arange(30.0).reshape(1, 1, 5, 6).expand(40, 1, 5, 6)
    drawn = pick_random_positions(places, 7, _generator())[:, :, 0]
    assert drawn.shape == (40, 7)
    assert all(len(set(row)) == 7 for row in drawn.tolist())
    assert len({tuple(sorted(row)) for row in drawn.tolist()}) > 10


def test_every_position_is_drawn_equally_often():
    places = torch.arange(12).reshape(1, 1, 3, 4).expand(4000, 1, 3, 4)
    generator = _generator(3)
    drawn = torch.cat([pick_random_positions(places, 3, generator).flatten() for _ in range(3)])
    counts = torch.bincount(drawn, minlength=12)
    expected = len(drawn) / 12
    assert ((counts - expected).square() / expected).sum() < 31.3  # chi-squared, 11 degrees, p = 0.001


def test_random_positions_are_columns_of_all_channels():
    drawn = pick_random_positions(MAPS, 6, _generator())
    for image, rows in zip(MAPS.flatten(2), drawn, strict=True):
        columns = image.T.tolist()
        assert all(row in columns for row in rows.tolist())
    tokens = MAPS.flatten(2).transpose(1, 2)
    assert torch.equal(pick_random_positions(tokens, 6, _generator()), drawn)


def test_a_generator_decides_the_draw_and_all_positions_draw_nothing():
    first, again = (
        pick_random_positions(MAPS, 4, _generator(5)),
        pick_random_positions(MAPS, 4, _generator(5)),
    )
    assert torch.equal(first, again)
    generator = _generator(5)
    assert pick_random_positions(MAPS, 20, generator) is MAPS
    assert torch.equal(generator.get_state(), _generator(5).get_state())
    features = torch.zeros(3, 2)
    assert pick_random_positions(features, 4, generator) is features
    assert pick_nearest_positions(features, 4) is features


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: pick_random_positions(MAPS, 0, _generator()), "at least 1 position must be read, got 0"),
        (lambda: pick_nearest_positions(MAPS, 0), "at least 1 position must be read along each axis, got 0"),
        (lambda: read_samples(MAPS, "sum"), "unknown way 'sum'.*channelwise, mean, max, median, flatten"),
        (lambda: count_positions((3,)), r"2, 3 or 4 axes, got shape \(3,\)"),
    ],
)
def test_misuse_is_refused(act, message):
    with pytest.raises(ValueError, match=message):
        act()
