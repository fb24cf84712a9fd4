"""Clusters are found where they are, whatever the order of items, and agree with another library."""

import warnings

import numpy as np
import pytest
from tests.reference.clusters import silhouettes

from rep_kedro.kernels.statistics import clusters


def make_blocks(sizes, inside=0.9, outside=0.1, seed=0):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    affinities = np.where(labels[:, None] == labels, inside, outside)
    noise = np.random.default_rng(seed).uniform(-0.05, 0.05, size=affinities.shape)
    return np.abs(affinities + (noise + noise.T) / 2 * (affinities > 0)), labels


def by_rotation(embedding):
    return clusters.assign_by_rotation(embedding, np.random.default_rng(0))


ASSIGN = [clusters.assign_by_pivots, by_rotation]


@pytest.mark.parametrize("assign", ASSIGN)
@pytest.mark.parametrize("outside", [0.0, 0.1, 0.3])
def test_blocks_are_found_in_any_order_connected_or_not(assign, outside):
    affinities, labels = make_blocks([5, 3, 8], outside=outside)
    order = np.random.default_rng(1).permutation(16)
    found = assign(clusters.embed_affinities(affinities[np.ix_(order, order)], 3))
    assert clusters.renumber_clusters(found).tolist() == clusters.renumber_clusters(labels[order]).tolist()


@pytest.mark.parametrize(("assign", "name"), [(ASSIGN[0], "cluster_qr"), (ASSIGN[1], "discretize")])
@pytest.mark.parametrize("seed", range(4))
def test_clusters_are_those_of_another_library(assign, name, seed):
    from sklearn.cluster import SpectralClustering

    affinities, _ = make_blocks([4, 6, 7, 5], outside=0.4, seed=seed)
    other = SpectralClustering(4, affinity="precomputed", assign_labels=name, random_state=0)
    expected = clusters.renumber_clusters(other.fit_predict(affinities))
    found = clusters.renumber_clusters(assign(clusters.embed_affinities(affinities, 4)))
    assert found.tolist() == expected.tolist()


def test_the_embedding_solves_the_generalised_eigenproblem():
    affinities, _ = make_blocks([4, 5], seed=3)
    embedding = clusters.embed_affinities(affinities, 2)
    np.fill_diagonal(affinities, 0.0)
    degrees = affinities.sum(1)
    for vector in embedding.T:
        image = vector - affinities @ vector / degrees  # random-walk Laplacian
        value = (vector @ (degrees * image)) / (vector @ (degrees * vector))
        np.testing.assert_allclose(image, value * vector, atol=1e-10)


def test_an_item_without_affinity_is_a_cluster_of_its_own():
    affinities, _ = make_blocks([3, 4])
    affinities[2] = affinities[:, 2] = 0.0
    assert clusters.count_components(affinities) == 2
    found = clusters.assign_by_pivots(clusters.embed_affinities(affinities, 2))
    assert clusters.renumber_clusters(found).tolist() == [0, 0, 1, 0, 0, 0, 0]


def test_components_are_counted_along_chains():
    chain = np.eye(6)
    for i, j in ((0, 3), (3, 5), (1, 4)):
        chain[i, j] = chain[j, i] = 0.2
    assert clusters.count_components(chain) == 3
    assert clusters.count_components(np.ones((4, 4))) == 1


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_silhouettes_are_those_of_the_definition_at_any_scale(scale):
    points = np.random.default_rng(0).normal(size=(12, 3))
    apart = np.linalg.norm(points[:, None] - points, axis=-1) * scale
    labels = np.array([0, 0, 1, 2, 2, 2, 0, 1, 3, 2, 0, 1])
    found = clusters.compute_silhouettes(apart, labels)
    np.testing.assert_allclose(found, silhouettes(apart.tolist(), labels.tolist()), rtol=1e-12)
    assert np.isnan(found[8])


def test_silhouettes_are_those_of_another_library():
    from sklearn.metrics import silhouette_samples

    apart = np.abs(np.subtract.outer(np.arange(9.0) ** 2, np.arange(9.0) ** 2))
    labels = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = silhouette_samples(apart, labels, metric="precomputed")
    np.testing.assert_allclose(clusters.compute_silhouettes(apart, labels), expected, rtol=1e-12)


def test_silhouettes_are_undefined_where_nothing_can_be_compared():
    apart = np.ones((4, 4)) - np.eye(4)
    assert np.isnan(clusters.compute_silhouettes(apart, np.zeros(4, dtype=np.int64))).all()
    assert np.isnan(clusters.compute_silhouettes(np.zeros((4, 4)), np.array([0, 0, 1, 1]))).all()
    assert np.isnan(clusters.compute_silhouettes(apart, np.arange(4))).all()


def test_a_diagonal_that_is_not_zero_does_not_count():
    apart = np.array([[7.0, 1, 4], [1, 7, 4], [4, 4, 7]])
    assert clusters.compute_silhouettes(apart, np.array([0, 0, 1]))[:2].tolist() == [0.75, 0.75]


def test_clusters_are_numbered_by_their_first_item():
    assert clusters.renumber_clusters(np.array([5, 3, 5, 9, 3])).tolist() == [0, 1, 0, 2, 1]


def test_nothing_is_changed_in_place():
    affinities, labels = make_blocks([3, 3])
    before = affinities.copy()
    clusters.embed_affinities(affinities, 2)
    clusters.compute_silhouettes(affinities, labels)
    np.testing.assert_array_equal(affinities, before)
