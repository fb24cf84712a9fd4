"""Dimensions from nearest neighbours, against their definitions and on clouds of known dimension."""

import math

import numpy as np
import pytest
import torch
from tests.reference import neighbour_dimensions as reference

from rep_kedro.kernels.layers import neighbour_dimensions
from rep_kedro.kernels.layers.neighbour_dimensions import measure_neighbour_dimensions


def draw(n=60, n_features=7, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 3)) @ rng.standard_normal((3, n_features)) + 5


def measure(x):
    return measure_neighbour_dimensions(torch.as_tensor(x))


@pytest.mark.parametrize("block_bytes", [1, 10_000, 2**25])
@pytest.mark.parametrize("n_copies", [0, 4])
def test_both_are_those_of_the_definitions_and_copies_count_once(monkeypatch, block_bytes, n_copies):
    monkeypatch.setattr(neighbour_dimensions, "BLOCK_BYTES", block_bytes)
    x = draw()
    found = measure(np.vstack([x, x[:n_copies]]))
    assert found.two_nn == pytest.approx(reference.two_nn(x), rel=1e-9)
    assert found.mle == pytest.approx(reference.mle(x), rel=1e-9)
    assert (found.n_distinct, found.reason) == (60, "")


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_a_cube_bent_in_many_dimensions_has_its_own_dimension(dimension):
    rng = np.random.default_rng(1)
    cube = rng.random((1500, dimension))
    turned = cube @ rng.standard_normal((dimension, 12))
    found = measure(np.hstack([turned, np.cos(turned)]))
    assert found.two_nn == pytest.approx(dimension, rel=0.1)
    assert found.mle == pytest.approx(dimension, rel=0.15)


@pytest.mark.parametrize("change", [lambda x: 1e-30 * x, lambda x: 1e30 * x, lambda x: x + 1e5])
def test_size_and_place_make_no_difference(change):
    found, expected = measure(change(draw())), measure(draw())
    assert found.two_nn == pytest.approx(expected.two_nn, rel=1e-6)
    assert found.mle == pytest.approx(expected.mle, rel=1e-6)


def test_two_ratios_on_a_line_are_those_one_works_out():
    # samples 0, 1, 3: ratios 3, 2 and 3/2; the largest is left out of nine tenths of three
    points = [(math.log(1.5), -math.log(2 / 3)), (math.log(2), -math.log(1 / 3))]
    expected = sum(a * b for a, b in points) / sum(a * a for a, _ in points)
    found = measure(np.array([[0.0], [1.0], [3.0]]))
    assert found.two_nn == pytest.approx(expected)
    assert math.isnan(found.mle)
    assert found.reason == "samples that differ: 3, maximum likelihood needs 21"


def test_samples_at_equal_distances_count_where_others_are_not():
    line = np.arange(30.0)[:, None]  # but for the ends, both neighbours are equally far
    found = measure(line)
    assert math.isnan(found.two_nn)
    assert found.mle == pytest.approx(reference.mle(line), rel=1e-9)
    assert found.reason == "neighbours are equally far"
    stretched = np.concatenate([line[:20], 25 + 2 * line[:10] ** 1.5])
    assert measure(stretched).two_nn == pytest.approx(reference.two_nn(stretched), rel=1e-9)


def test_maximum_likelihood_needs_one_sample_more_than_neighbours():
    few, enough = measure(draw(20)), measure(draw(21))
    assert math.isnan(few.mle)
    assert few.reason == "samples that differ: 20, maximum likelihood needs 21"
    assert (enough.mle, enough.reason) == (pytest.approx(reference.mle(draw(21)), rel=1e-9), "")


def test_what_has_no_dimension_has_a_reason():
    stuck = measure(np.ones((30, 4)))
    assert (stuck.n_distinct, stuck.reason) == (1, "samples that differ: 1, need 3")
    assert math.isnan(stuck.two_nn)
    corners = measure(np.eye(30))
    assert math.isnan(corners.two_nn)
    assert math.isnan(corners.mle)
    assert corners.reason == "neighbours are equally far"
    close = draw()
    close[1] = close[0] * (1 + 1e-16) + np.spacing(close[0])
    found = measure(close + 1e8 * (np.arange(60) > 30)[:, None])
    assert found.reason == "samples that differ are at distance zero up to rounding"
