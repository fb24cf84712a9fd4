"""Maps keep distances that a plane holds, and never fit worse than classical scaling."""

import numpy as np
import pytest
from tests.reference.scaling import monotone_fit, stress_one, torgerson

from rep_kedro.kernels.statistics import scaling


def distances_of(points):
    return scaling.pairwise_distances(np.asarray(points, dtype=float)[None])[0]


def make_dissimilarities(n, n_dims, seed=0):
    return distances_of(np.random.default_rng(seed).normal(size=(n, n_dims)))


def scale(dissimilarities, seed=0, **options):
    return scaling.scale_by_majorization(dissimilarities, np.random.default_rng(seed), **options)


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("is_metric", [True, False])
def test_distances_in_a_plane_are_found_again_at_any_scale(size, is_metric):
    apart = make_dissimilarities(9, 2) * size
    found = scale(apart, is_metric=is_metric, max_iterations=2000, tolerance=1e-14)
    assert found.stress < 0.02
    np.testing.assert_allclose(distances_of(found.positions), apart, atol=0.05 * apart.max())


def test_classical_scaling_is_that_of_the_definition():
    apart = make_dissimilarities(8, 5)
    expected = torgerson(apart)[:, :2]
    np.testing.assert_allclose(np.abs(scaling.scale_classically(apart)), np.abs(expected), atol=1e-12)


def test_classical_scaling_finds_planar_distances_exactly():
    apart = make_dissimilarities(8, 2)
    np.testing.assert_allclose(distances_of(scaling.scale_classically(apart)), apart, atol=1e-12)


def test_stress_is_that_of_the_definition():
    apart, points = make_dissimilarities(7, 4), np.random.default_rng(1).normal(size=(7, 2))
    assert scaling.measure_stress(apart, points) == pytest.approx(stress_one(apart, points), rel=1e-12)


def test_stress_of_the_order_is_from_the_nearest_monotone_numbers():
    apart, points = make_dissimilarities(7, 4), np.random.default_rng(1).normal(size=(7, 2))
    upper = np.triu_indices(7, 1)
    order = np.argsort(apart[upper])
    distances = distances_of(points)[upper][order]
    expected = np.sqrt(((distances - monotone_fit(distances)) ** 2).sum() / (distances**2).sum())
    assert scaling.measure_stress(apart, points, is_metric=False) == pytest.approx(expected, rel=1e-12)


def test_only_the_order_counts_for_the_nonmetric_stress():
    apart, points = make_dissimilarities(7, 4), np.random.default_rng(1).normal(size=(7, 2))
    stress = [scaling.measure_stress(values, points, is_metric=False) for values in (apart, apart**3)]
    assert stress[0] == stress[1]


@pytest.mark.parametrize("n", [3, 8, 20])
def test_a_map_fits_no_worse_than_classical_scaling_and_no_worse_with_more_starts(n):
    apart = make_dissimilarities(n, 6)
    classical = scaling.measure_stress(apart, scaling.scale_classically(apart))
    one, many = scale(apart, n_starts=1).stress, scale(apart, n_starts=6).stress
    assert many <= one + 1e-12
    assert one <= classical


def test_the_map_is_a_minimum_of_stress():
    apart = make_dissimilarities(10, 5)
    found = scale(apart, tolerance=1e-15, max_iterations=5000)
    raw = ((distances_of(found.positions) - apart) ** 2).sum()
    for seed in range(20):
        moved = found.positions + 1e-3 * np.random.default_rng(seed).normal(size=found.positions.shape)
        assert ((distances_of(moved) - apart) ** 2).sum() > raw


def test_the_stress_is_near_that_of_another_library():
    from sklearn.manifold import smacof

    apart = make_dissimilarities(15, 6)
    _, expected = smacof(apart, n_init=20, random_state=0, normalized_stress=True, max_iter=2000, eps=1e-9)
    assert scale(apart, n_starts=20, tolerance=1e-9, max_iterations=2000).stress == pytest.approx(
        expected, abs=1e-4
    )


def test_a_seed_gives_the_same_map_and_a_map_lies_along_its_axes():
    apart = make_dissimilarities(12, 6)
    first, second = scale(apart, seed=3), scale(apart, seed=3)
    np.testing.assert_array_equal(first.positions, second.positions)
    covariance = first.positions.T @ first.positions
    assert abs(covariance[0, 1]) < 1e-9 * covariance[0, 0]
    assert covariance[0, 0] > covariance[1, 1]
    np.testing.assert_allclose(first.positions.mean(0), 0, atol=1e-12)


@pytest.mark.parametrize("is_metric", [True, False])
def test_items_that_coincide_lie_at_one_place(is_metric):
    points = np.random.default_rng(0).normal(size=(6, 2))
    apart = distances_of(points[[0, 1, 2, 3, 4, 5, 0]])
    found = scale(apart, is_metric=is_metric, max_iterations=3000, tolerance=1e-15)
    assert np.isfinite(found.positions).all()
    gap = np.linalg.norm(found.positions[0] - found.positions[6])
    assert gap < (1e-6 if is_metric else 0.1) * apart.max()


def test_without_any_difference_there_is_no_stress():
    found = scale(np.zeros((4, 4)))
    assert np.isnan(found.stress)
    assert not found.positions.any()


def test_a_turned_map_lies_on_its_target_and_keeps_its_distances():
    points = np.random.default_rng(0).normal(size=(6, 2))
    points -= points.mean(0)
    mirrored = points @ np.array([[0.6, 0.8], [0.8, -0.6]])
    np.testing.assert_allclose(mirrored @ scaling.find_turn(mirrored, points), points, atol=1e-12)
    turned = mirrored @ scaling.find_turn(mirrored, np.random.default_rng(1).normal(size=(6, 2)))
    np.testing.assert_allclose(distances_of(turned), distances_of(points), atol=1e-12)
