"""Barlow Twins, BYOL, soft maxima, the wanted rank: formulas, extremes, what moves with them."""

import math

import pytest
import torch
from tests.reference import objectives as reference

from rep_kedro.kernels.layers.spectrum import measure_rankme_uncentred_sigma
from rep_kedro.models.building import build_network
from rep_kedro.training.objectives.barlow_twins import barlow_twins_losses
from rep_kedro.training.objectives.byol import byol_loss
from rep_kedro.training.objectives.registry import make_objective
from rep_kedro.training.objectives.target_rank import RankWeight, batch_rankme
from rep_kedro.training.objectives.vicreg_exp import soft_maximum_loss


def _draw(n=7, d=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(n, d, generator=generator, dtype=torch.float64) for _ in range(2))


@pytest.mark.parametrize(("n", "d"), [(2, 3), (7, 5), (16, 1)])
def test_barlow_twins_is_the_papers_formula(n, d):
    first, second = _draw(n, d)
    found = barlow_twins_losses(first, second, redundancy_weight=0.005)
    invariance, redundancy = reference.barlow_twins(first, second)
    assert found["invariance"].item() == pytest.approx(invariance, rel=1e-12)
    assert found["redundancy"].item() == pytest.approx(redundancy, rel=1e-12, abs=1e-12)
    assert found["loss"].item() == pytest.approx(invariance + 0.005 * redundancy, rel=1e-12)
    swapped = barlow_twins_losses(second, first, redundancy_weight=0.005)["loss"]
    assert swapped.item() == pytest.approx(found["loss"].item(), rel=1e-12)


def test_barlow_twins_of_equal_views_has_nothing_on_its_diagonal_and_of_collapsed_ones_all():
    first, _ = _draw(50)
    assert barlow_twins_losses(first, first, redundancy_weight=1.0)["invariance"].item() < 1e-8
    ones = torch.ones(4, 3, dtype=torch.float64, requires_grad=True)
    losses = barlow_twins_losses(ones, ones, redundancy_weight=1.0)
    losses["loss"].backward()
    assert losses["invariance"].item() == 3
    assert torch.isfinite(ones.grad).all()


def test_byol_is_the_papers_formula():
    first, second = _draw()
    assert byol_loss(first, second).item() == pytest.approx(reference.byol(first, second), rel=1e-12)
    assert byol_loss(first, 3 * first).item() == pytest.approx(0, abs=1e-12)
    assert byol_loss(first, -first).item() == pytest.approx(4, rel=1e-12)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_the_soft_maximum_is_the_papers_formula_over_dimensions_and_over_images(temperature):
    first, second = _draw()
    expected = reference.soft_maximum(first, temperature)
    assert soft_maximum_loss(first, temperature=temperature).item() == pytest.approx(expected, rel=1e-12)
    for name, rows in (("vicreg_exp", (first, second)), ("vicreg_ctr", (first.T, second.T))):
        losses = make_objective(name, {"temperature": temperature}).compare_views(first, second)
        expected = sum(reference.soft_maximum(each, temperature) for each in rows)
        assert losses["covariance"].item() == pytest.approx(expected, rel=1e-12)
        invariance, variance, _ = reference.vicreg(first, second)
        assert losses["loss"].item() == pytest.approx(invariance + variance + expected, rel=1e-12)


def test_large_covariances_do_not_overflow_in_the_soft_maximum():
    large = torch.tensor([[0.0, 0.0], [1e3, 1e3]], requires_grad=True)
    loss = soft_maximum_loss(large, temperature=0.1)
    loss.backward()
    assert loss.item() == pytest.approx(5e6)
    assert torch.isfinite(large.grad).all()


@pytest.mark.parametrize("loss", ["barlow_twins", "vicreg_exp", "vicreg_ctr"])
def test_other_shapes_and_single_images_are_refused(loss):
    objective = make_objective(loss, {})
    for first, second in ((torch.zeros(3, 2), torch.zeros(3, 4)), (torch.zeros(1, 2), torch.zeros(1, 2))):
        with pytest.raises(ValueError, match="needs two equal shapes"):
            objective.compare_views(first, second)
    with pytest.raises(ValueError, match="BYOL needs two equal shapes"):
        byol_loss(torch.zeros(3, 2), torch.zeros(3, 4))


def test_the_rank_of_a_batch_is_that_of_the_kernel_and_has_a_gradient():
    first, _ = _draw(9, 4)
    first.requires_grad_()
    rank = batch_rankme(first)
    expected = measure_rankme_uncentred_sigma(torch.linalg.svdvals(first.detach()))
    assert rank.item() == pytest.approx(expected, rel=1e-12)
    assert torch.autograd.gradcheck(batch_rankme, first)
    assert batch_rankme(torch.eye(8, dtype=torch.float64)).item() == pytest.approx(8.000007, abs=1e-6)


def test_the_weight_of_the_rank_follows_adam_and_rises_below_the_target():
    weight, theirs = RankWeight(-1.6), torch.tensor([-1.6], dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([theirs], lr=0.03)
    for embeddings in (torch.eye(4), torch.ones(4, 4) + torch.eye(4), torch.eye(4)):
        rank, before = weight(embeddings.double())
        assert before.item() == pytest.approx(math.exp(theirs.item()), rel=1e-12)
        adam.zero_grad()
        (theirs.exp() * (rank.item() - 3.0)).sum().backward()
        adam.step()
        weight.move(3.0, 0.03)
        assert weight.numbers[0].item() == pytest.approx(theirs.item(), rel=1e-9)
    low = RankWeight(0.0)
    low(torch.ones(4, 4, dtype=torch.float64))
    low.move(3.0, 0.1)
    assert low.numbers[0].item() == pytest.approx(0.1, rel=1e-6)


def test_a_wanted_rank_is_part_of_the_loss_and_bounded_by_batch_and_width():
    objective = make_objective("simclr", {"target_rank": 4, "views": {}})
    network = build_network("cnn", n_classes=None, seed=0)
    projector = objective.build_projector(network, torch.Generator().manual_seed(0))
    images = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    losses = objective.compute_losses(network, projector, images, torch.zeros(8), torch.Generator())
    plain = make_objective("simclr", {"views": {}}).compute_losses(
        network, projector, images, torch.zeros(8), torch.Generator()
    )
    driven = plain["loss"] - math.exp(-1.6) * losses["batch_rank"]
    assert losses["loss"].item() == pytest.approx(driven.item(), rel=1e-5)
    with pytest.raises(ValueError, match="target_rank 4 exceeds batch_size 3, which bounds the rank"):
        objective.require_batch(3)
    with pytest.raises(ValueError, match="target_rank 40 exceeds the 32 dimensions of the embedding"):
        make_objective("simclr", {"target_rank": 40})


def test_the_target_of_byol_follows_slowly_and_stops_at_the_end():
    objective = make_objective("byol", {"momentum": 0.9})
    network = build_network("cnn", n_classes=None, seed=0)
    head = objective.build_projector(network, torch.Generator().manual_seed(0))
    slow, fast = head.target.network.conv1.weight, network.conv1.weight
    assert torch.equal(slow, fast)
    assert not any(each.requires_grad for each in head.target.parameters())
    with torch.no_grad():
        fast += 1.0
    before = slow.clone()
    objective.after_update(network, head, 0.5)  # half way the momentum is 0.95
    torch.testing.assert_close(slow - before, torch.full_like(slow, 0.05), atol=1e-6, rtol=0)
    before = slow.clone()
    objective.after_update(network, head, 1.0)
    assert torch.equal(slow, before)


def test_an_autoencoder_decodes_the_image_that_the_view_was_drawn_from():
    objective = make_objective("autoencoder", {"views": {"noise_std": 0.5}})
    network = build_network("cnn", n_classes=None, seed=0)
    projector = objective.build_projector(network, torch.Generator().manual_seed(0))
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    loss = objective.compute_losses(
        network, projector, images, torch.zeros(4), torch.Generator().manual_seed(2)
    )["loss"]
    noisy = objective.views.draw(images, torch.Generator().manual_seed(2))
    decoded = projector.decode(network((noisy - 0.5) / 0.5))
    assert decoded.shape == images.shape
    assert loss.item() == pytest.approx(((decoded - images) ** 2).mean().item(), rel=1e-5)
