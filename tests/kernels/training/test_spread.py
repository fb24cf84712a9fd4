"""Spread of embeddings: the formulas, full and collapsed rows, what does not change it."""

import math

import pytest
import torch
from tests.reference import spread as reference

from rep_kedro.kernels.training import spread


def _draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(30, 6), (6, 30), (5, 5)])
def test_rankme_from_the_smaller_gram_matrix_is_that_of_the_rows(shape):
    rows = _draw(*shape) + 1
    for scale in (1.0, 1e-6):
        assert spread.measure_rankme(scale * rows) == pytest.approx(reference.rankme(rows), rel=1e-9)


def test_rankme_of_collapsed_rows_is_one_and_of_zeros_undefined():
    assert spread.measure_rankme(torch.ones(20, 4)) == pytest.approx(1, abs=1e-3)
    assert math.isnan(spread.measure_rankme(torch.zeros(20, 4)))


def test_dead_dimensions_are_counted_whatever_the_scale():
    rows = _draw(50, 4)
    rows[:, 1] = 3.0
    for scale in (1e-6, 1.0, 1e6):
        assert spread.measure_dead_fraction(scale * rows) == 0.25
    assert spread.measure_dead_fraction(torch.zeros(5, 4)) == 1


@pytest.mark.parametrize("top", [1, 5])
def test_contrast_is_the_share_of_partners_found(top):
    first = _draw(9, 4)
    second = first + _draw(9, 4, seed=1)
    assert spread.measure_contrast(first, second, tops=(top,)) == (reference.contrast(first, second, top),)
    assert spread.measure_contrast(first, first, tops=(1, 5)) == (1, 1)
    assert spread.measure_contrast(torch.ones(9, 4), torch.ones(9, 4), tops=(top,)) == (0,)
