"""Projection onto the directions of a covariance."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.reference import projection as reference

from rep_kedro.kernels.layers.projection import (
    Directions,
    Projector,
    draw_random_directions,
    find_leading_directions,
)
from rep_kedro.kernels.layers.streaming import StreamedMoments, flatten_positions


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def maps():
    mixing = torch.randn(4, 4, generator=_generator(1), dtype=torch.float64)
    values = torch.randn(6, 3, 2, 4, generator=_generator(2), dtype=torch.float64) @ mixing + 3.0
    return values.permute(0, 3, 1, 2)


def _moments(maps):
    moments = StreamedMoments(maps.shape[1])
    moments.update(flatten_positions(maps))
    return moments


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("k", [1, 3, 4])
def test_every_position_is_projected_as_the_formula_says(maps, centred, k):
    directions, _ = find_leading_directions(_moments(maps), centred=centred)
    projected = Projector(maps, directions).keep(k)
    columns, origin = directions.vectors.T[:k].tolist(), directions.origin.tolist()
    for found, sample in zip(flatten_positions(projected), flatten_positions(maps).tolist(), strict=True):
        expected = torch.tensor(reference.project(sample, columns, origin), dtype=torch.float64)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    if k == 4:
        torch.testing.assert_close(projected, maps, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("centred", [True, False])
def test_eigenvalues_are_the_variance_along_the_directions(maps, centred):
    directions, eigenvalues = find_leading_directions(_moments(maps), centred=centred)
    rows = flatten_positions(maps) - directions.origin
    along = (rows @ directions.vectors).square().mean(dim=0)
    torch.testing.assert_close(along, eigenvalues, rtol=1e-10, atol=1e-12)
    matrix = np.cov(flatten_positions(maps).T.numpy(), ddof=0)
    if not centred:
        matrix = flatten_positions(maps).T.numpy() @ flatten_positions(maps).numpy() / rows.shape[0]
    expected = torch.from_numpy(np.linalg.eigvalsh(matrix)[::-1].copy())
    torch.testing.assert_close(eigenvalues, expected, rtol=1e-10, atol=1e-12)


def test_a_mean_far_above_the_spread_leaves_over_the_smallest_eigenvalue(maps):
    far = maps + 1e6
    moments = _moments(far)
    directions, eigenvalues = find_leading_directions(moments)
    error = (Projector(far, directions).keep(3) - far).square().sum(dim=1).mean()
    assert error.item() == pytest.approx(eigenvalues[3].item(), rel=1e-6)


@pytest.mark.parametrize("shape", [(5, 7), (5, 4, 7), (5, 7, 2, 3)])
def test_form_and_type_of_the_output_stay(shape):
    activation = torch.randn(shape, generator=_generator())
    directions = Directions(torch.eye(7, dtype=torch.float64), torch.zeros(7, dtype=torch.float64))
    projected = Projector(activation, directions).keep(7)
    assert projected.dtype == activation.dtype
    torch.testing.assert_close(projected, activation)


def test_random_directions_are_orthonormal_and_uniform():
    origin = torch.zeros(3, dtype=torch.float64)
    generator = _generator(4)
    drawn = torch.stack([draw_random_directions(origin, generator).vectors for _ in range(4000)])
    unit = torch.eye(3, dtype=torch.float64).expand(4000, 3, 3)
    torch.testing.assert_close(drawn.transpose(1, 2) @ drawn, unit, rtol=0, atol=1e-12)
    # Each entry of a Haar matrix has mean 0, variance 1 / n and fourth moment 3 / (n (n + 2)).
    assert drawn.mean(dim=0).abs().max() < 5 * (1 / 3 / 4000) ** 0.5
    assert (drawn.square().mean(dim=0) - 1 / 3).abs().max() < 5 * ((1 / 5 - 1 / 9) / 4000) ** 0.5


def test_rounding_below_zero_is_cut_off_and_more_is_no_covariance():
    def moments(*variances):
        mean = torch.zeros(len(variances), dtype=torch.float64)
        return SimpleNamespace(covariance=lambda: torch.diag(torch.tensor(variances).double()), mean=mean)

    assert find_leading_directions(moments(-1e-15, 1.0, 0.0))[1].tolist() == [1, 0, 0]
    with pytest.raises(ValueError, match=r"eigenvalues of a covariance must not be negative, got -0\.5"):
        find_leading_directions(moments(-0.5, 1.0))


def test_samples_that_are_not_finite_are_refused():
    moments = StreamedMoments(2, products=torch.float32)
    moments.update(torch.tensor([[0.0, torch.inf]]), check=False)
    with pytest.raises(ValueError, match="finite"):
        find_leading_directions(moments)
