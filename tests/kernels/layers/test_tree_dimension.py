"""Dimension from the growth of shortest trees: lengths against Kruskal's, and clouds of known dimension."""

import math

import numpy as np
import pytest
import torch
from tests.reference import label_free as reference

from rep_kedro.kernels.layers.tree_dimension import measure_tree_dimension, measure_tree_lengths


def draw(n=40, k=3, seed=0):
    return torch.rand(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def measure(rows, n_draws=3):
    return measure_tree_dimension(rows, n_draws=n_draws, generator=torch.Generator().manual_seed(2))


def test_lengths_of_trees_are_those_of_kruskal():
    x = draw()
    distances = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist").numpy()
    drawn = np.stack([np.random.default_rng(seed).permutation(40)[:17] for seed in range(4)])
    expected = [reference.tree_length(x[places].tolist()) for places in drawn]
    assert measure_tree_lengths(distances, drawn) == pytest.approx(expected, rel=1e-12)
    assert measure_tree_lengths(distances, drawn[:, :1]).tolist() == [0, 0, 0, 0]


def test_the_dimension_is_that_of_the_fit_over_subsamples():
    x, generator = draw(), torch.Generator().manual_seed(2)
    lengths = []
    for size, n_draws in ((5, 3), (10, 3), (20, 3), (40, 1)):
        drawn = [torch.randperm(40, generator=generator)[:size] for _ in range(n_draws)]
        lengths.append(np.mean([reference.tree_length(x[places].tolist()) for places in drawn]))
    found = measure(x)
    assert found.sizes == (5, 10, 20, 40)
    assert found.measured.value == pytest.approx(reference.tree_dimension(found.sizes, lengths), rel=1e-9)


@pytest.mark.parametrize(("dimension", "tolerance"), [(1, 0.05), (2, 0.2), (4, 0.3)])
def test_a_bent_cube_has_about_its_own_dimension(dimension, tolerance):
    cube = draw(600, dimension)
    turned = cube @ draw(dimension, 9, seed=1)
    found = measure(torch.cat([turned, turned.cos()], dim=1), n_draws=5)
    assert found.measured.value == pytest.approx(dimension, rel=tolerance)


def test_what_changes_nothing():
    x = draw()
    turned = x @ torch.linalg.qr(draw(3, 3, seed=4))[0]
    expected = measure(x).measured.value
    for changed in (turned, 1e-30 * x, 1e30 * x, x + 1e5, torch.cat([x, x[:7]])):
        assert measure(changed).measured.value == pytest.approx(expected, rel=1e-6)
    assert measure(x.float()).measured.value == pytest.approx(expected, rel=1e-5)


def test_what_is_undefined_has_a_reason():
    assert measure(draw(15)).measured.reason == "samples that differ: 15, need 16"
    assert measure(draw(16)).measured.reason == ""
    few = measure(torch.ones(30, 3)).measured
    assert (math.isnan(few.value), few.reason) == (True, "samples that differ: 1, need 16")
    corners = measure(torch.eye(40)).measured
    assert (math.isnan(corners.value), corners.reason) == (
        True,
        "the shortest tree grows at least in proportion to the number of samples",
    )
    two_points = torch.cat([torch.zeros(20, 3), torch.ones(20, 3)]).double() * 1e8
    stuck = measure(two_points + 1e-9 * draw()).measured
    assert stuck.reason == "samples that differ are at distance zero up to rounding"
