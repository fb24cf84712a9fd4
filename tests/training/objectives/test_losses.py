"""Losses against the papers' formulas, by hand, at their extremes, and with gradients that stay finite."""

import math

import pytest
import torch
from tests.reference import objectives as reference

from rep_kedro.training.objectives.simclr import nt_xent_loss
from rep_kedro.training.objectives.vicreg import (
    covariance_loss,
    invariance_loss,
    variance_loss,
    vicreg_losses,
)

WEIGHTS = {"invariance_weight": 25.0, "variance_weight": 25.0, "covariance_weight": 1.0}


def _draw(n=7, d=5, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(n, d, generator=generator, dtype=torch.float64) for _ in range(2))


@pytest.mark.parametrize("temperature", [0.07, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("n", [2, 3, 16])
def test_nt_xent_is_the_papers_formula(n, temperature):
    first, second = _draw(n)
    expected = reference.nt_xent(first, second, temperature)
    assert nt_xent_loss(first, second, temperature=temperature).item() == pytest.approx(expected, rel=1e-12)


def test_nt_xent_by_hand():
    first = torch.tensor([[1.0, 0.0], [0.0, 3.0]], dtype=torch.float64)
    second = torch.tensor([[2.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    # The partner has cosine 1, the two others 0: -ln(e / (e + 2)).
    assert nt_xent_loss(first, second, temperature=1.0).item() == pytest.approx(
        math.log(1 + 2 / math.e), rel=1e-12
    )


def test_nt_xent_of_equal_embeddings_is_the_logarithm_of_the_choices():
    ones = torch.ones(4, 3, dtype=torch.float64)
    assert nt_xent_loss(ones, ones, temperature=0.1).item() == pytest.approx(math.log(7), rel=1e-12)


def test_nt_xent_does_not_see_the_length_of_an_embedding():
    first, second = _draw()
    longer = nt_xent_loss(1e6 * first, 1e-6 * second, temperature=0.2)
    assert longer.item() == pytest.approx(nt_xent_loss(first, second, temperature=0.2).item(), rel=1e-9)


def test_both_losses_are_symmetric_in_the_views():
    first, second = _draw()
    assert nt_xent_loss(first, second, temperature=0.2).item() == pytest.approx(
        nt_xent_loss(second, first, temperature=0.2).item(), rel=1e-12
    )
    one, other = vicreg_losses(first, second, **WEIGHTS), vicreg_losses(second, first, **WEIGHTS)
    assert all(one[part].item() == pytest.approx(other[part].item(), rel=1e-12) for part in one)


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
@pytest.mark.parametrize(("n", "d"), [(2, 3), (7, 5), (4, 9)])
def test_vicreg_is_the_papers_formula(n, d, scale):
    first, second = _draw(n, d, scale=scale)
    invariance, variance, covariance = reference.vicreg(first, second)
    losses = vicreg_losses(first, second, **WEIGHTS)
    assert losses["invariance"].item() == pytest.approx(invariance, rel=1e-12)
    assert losses["variance"].item() == pytest.approx(variance, rel=1e-12, abs=1e-15)
    assert losses["covariance"].item() == pytest.approx(covariance, rel=1e-12)
    assert losses["loss"].item() == pytest.approx(25 * invariance + 25 * variance + covariance, rel=1e-12)


def test_vicreg_terms_by_hand():
    x = torch.tensor([[1.0, 2.0], [-1.0, -2.0]], dtype=torch.float64)
    y = torch.zeros(2, 2, dtype=torch.float64)
    assert invariance_loss(x, y).item() == 2.5
    assert variance_loss(y).item() == pytest.approx(0.99)  # collapsed: 1 - sqrt(1e-4)
    assert variance_loss(x).item() == 0.0  # standard deviations sqrt(2) and sqrt(8) exceed 1
    assert covariance_loss(x).item() == pytest.approx(
        16.0
    )  # covariance 4, twice, squared, over two dimensions
    assert covariance_loss(x[:, :1]).item() == 0.0


@pytest.mark.parametrize("kind", ["drawn", "collapsed", "equal views"])
def test_gradients_stay_finite_even_when_everything_has_collapsed(kind):
    first, second = (x.float() for x in _draw())
    if kind == "collapsed":
        first, second = torch.ones_like(first), torch.ones_like(second)
    if kind == "equal views":
        second = first.clone()
    for loss in (
        lambda a, b: nt_xent_loss(a, b, temperature=0.1),
        lambda a, b: vicreg_losses(a, b, **WEIGHTS)["loss"],
    ):
        a, b = first.clone().requires_grad_(), second.clone().requires_grad_()
        loss(a, b).backward()
        assert torch.isfinite(a.grad).all()
        assert torch.isfinite(b.grad).all()


@pytest.mark.parametrize("shapes", [((3, 4), (3, 5)), ((1, 4), (1, 4)), ((4,), (4,))])
def test_unequal_views_and_single_images_are_refused(shapes):
    first, second = (torch.zeros(shape) for shape in shapes)
    with pytest.raises(ValueError, match="NT-Xent needs two equal shapes"):
        nt_xent_loss(first, second, temperature=0.1)
    with pytest.raises(ValueError, match="VICReg needs two equal shapes"):
        vicreg_losses(first, second, **WEIGHTS)


def test_a_temperature_of_zero_is_refused():
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        nt_xent_loss(*_draw(), temperature=0)
