"""Cluster learnability: Lloyd's rounds and the votes of neighbours, against loops and on known clusters."""

import math

import pytest
import torch
from tests.reference import label_free as reference

from rep_kedro.kernels.layers import learnability
from rep_kedro.kernels.layers.learnability import (
    cluster_by_means,
    draw_centres,
    first_of_copies,
    measure_cluster_learnability,
)


def draw(n=40, k=3, seed=0):
    return torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def measure(rows, n_clusters=4, n_neighbours=3):
    generator = torch.Generator().manual_seed(5)
    return measure_cluster_learnability(
        rows, n_clusters=n_clusters, n_neighbours=n_neighbours, generator=generator
    )


@pytest.mark.parametrize("seed", range(3))
def test_clusters_are_those_of_lloyds_rounds_from_the_same_centres(seed):
    x = draw(seed=seed)
    centres = draw_centres(x, 5, torch.Generator().manual_seed(seed))
    assert len(torch.unique(centres, dim=0)) == 5
    found = cluster_by_means(x, 5, torch.Generator().manual_seed(seed))
    assert found.tolist() == reference.cluster(x.tolist(), centres.tolist())


def test_each_centre_is_drawn_by_its_distance_to_the_nearest_one_before():
    x = torch.tensor([[0.0], [1.0], [100.0], [101.0]], dtype=torch.float64)
    for seed in range(20):  # the third centre is never the neighbour of both before it
        first, second, _ = draw_centres(x, 3, torch.Generator().manual_seed(seed))[:, 0].tolist()
        assert (first < 50) != (second < 50)
    copies = x.repeat(8, 1)
    for seed in range(20):
        assert len(draw_centres(copies, 4, torch.Generator().manual_seed(seed)).unique()) == 4


def test_clusters_of_one_row_are_those_of_lloyds_rounds_too():
    for seed in range(40):
        x = draw(14, 2, seed=seed)
        centres = draw_centres(x, 6, torch.Generator().manual_seed(seed))
        found = cluster_by_means(x, 6, torch.Generator().manual_seed(seed))
        assert found.tolist() == reference.cluster(x.tolist(), centres.tolist())


@pytest.mark.parametrize("n_neighbours", [1, 3, 4])
@pytest.mark.parametrize("block_bytes", [1, 2**25])
def test_the_value_is_the_share_of_right_votes(monkeypatch, n_neighbours, block_bytes):
    monkeypatch.setattr(learnability, "BLOCK_BYTES", block_bytes)
    x = draw()
    centred = x - x.mean(0)
    labels = cluster_by_means(
        centred / centred.square().sum(1).mean().sqrt(), 4, torch.Generator().manual_seed(5)
    )
    expected = reference.neighbour_accuracy(x.tolist(), labels.tolist(), n_neighbours)
    assert measure(x, n_neighbours=n_neighbours).value == expected
    assert 0 < expected < 1


def test_clusters_far_apart_are_found_and_learned():
    x = draw(60) + 100 * torch.eye(3, dtype=torch.float64).repeat(20, 1)
    labels = cluster_by_means(x, 3, torch.Generator().manual_seed(0))
    assert len(set(zip(labels.tolist(), [0, 1, 2] * 20, strict=True))) == 3
    assert measure(x, n_clusters=3).value == 1


def test_a_stimulus_far_from_all_others_does_not_round_their_clusters_away():
    x = torch.cat([draw(40), torch.full((1, 3), 1e12, dtype=torch.float64)])
    labels = cluster_by_means(x, 3, torch.Generator().manual_seed(0))
    others = draw_centres(x, 3, torch.Generator().manual_seed(0))
    for _ in range(100):  # rounds in exact differences
        nearest = (x[:, None] - others).square().sum(dim=2).argmin(dim=1)
        others = torch.stack([x[nearest == k].mean(dim=0) for k in range(3)])
    assert torch.equal(labels, nearest)
    assert len(set(labels[:40].tolist())) == 2


def test_what_changes_nothing():
    x = draw()
    turned = x @ torch.linalg.qr(draw(3, 3, seed=4))[0]
    for changed in (turned, 1e-30 * x, 1e30 * x, x + 1e5, torch.cat([x, x[:7]])):
        assert measure(changed).value == measure(x).value


def test_copies_are_found_in_their_order():
    rows = torch.tensor([[2.0, 1.0], [0.0, 1.0], [2.0, 1.0], [5.0, 0.0], [0.0, 1.0]])
    assert first_of_copies(rows).tolist() == [0, 1, 3]


def test_too_few_that_differ_have_a_reason():
    found = measure(torch.ones(30, 3), n_clusters=4)
    assert (math.isnan(found.value), found.reason) == (True, "stimuli that differ: 1, need 5")
    assert measure(draw(9), n_neighbours=9).reason == "stimuli that differ: 9, need 10"
    tiny = torch.tensor([[0.0], [1e-20], [2e-20], [3e-20], [1.0]])
    assert measure(tiny, n_clusters=3, n_neighbours=1).reason == (
        "stimuli that differ beyond rounding: 2, need 4"
    )
    close = (1e8 + draw(30) * 1e-10).double()
    assert measure(close, n_clusters=2).reason != ""
