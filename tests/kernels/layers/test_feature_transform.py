"""Transforms of features agree with their definitions, and say what they do where those end."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from tests.reference import feature_transform as reference

from rep_kedro.kernels.layers import feature_transform as kernel
from rep_kedro.kernels.layers.feature_transform import (
    ZeroLengthError,
    fit_centring,
    fit_pca,
    fit_standardising,
    scale_to_unit_length,
)
from rep_kedro.kernels.probes.probe import fit_standardisation

torch.set_num_threads(1)
SHAPES = [(40, 6), (7, 30), (12, 12), (2, 5), (30, 1)]


def _draw(shape, *, seed=0, mean=3.0):
    rng = np.random.default_rng(seed)
    spreads = np.geomspace(5.0, 0.05, shape[1])
    mixed = rng.normal(size=shape) * spreads @ np.linalg.qr(rng.normal(size=(shape[1], shape[1])))[0]
    return torch.from_numpy(mixed + mean)


@pytest.fixture(params=[1, 5, 1024])
def block(request, monkeypatch):
    """Blocks of any size give the same result."""
    monkeypatch.setattr(kernel, "ROWS_PER_BLOCK", request.param)
    monkeypatch.setattr(kernel, "COLUMNS_PER_BLOCK", request.param)


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("shape", SHAPES)
def test_every_transform_agrees_with_its_definition(shape):
    x, others = _draw(shape), _draw((9, shape[1]), seed=1)
    close = {"rtol": 0, "atol": 1e-10}
    np.testing.assert_allclose(scale_to_unit_length(x), reference.unit_length(x), **close)
    np.testing.assert_allclose(fit_centring(x).apply(others), reference.centre(x, others), **close)
    np.testing.assert_allclose(fit_standardising(x).apply(others), reference.standardise(x, others), **close)
    rank = min(shape[0] - 1, shape[1])
    for size in ({"n_components": max(rank - 1, 1)}, {"variance": 0.9}, {"variance": 0.999}):
        found = fit_pca(x, **size).apply(others)
        np.testing.assert_allclose(found, reference.pca(x, others, **size), rtol=0, atol=1e-8)


@pytest.mark.parametrize("shape", SHAPES)
def test_standardising_and_components_are_scikit_learns(shape):
    x, others = _draw(shape, seed=4), _draw((5, shape[1]), seed=5)
    theirs = StandardScaler().fit(x.numpy())
    ours = fit_standardising(x)
    np.testing.assert_allclose(ours.apply(others), theirs.transform(others.numpy()), rtol=1e-10)
    if shape[1] > 1:
        pca = PCA(n_components=0.99, svd_solver="full").fit(x.numpy())
        found = fit_pca(x, variance=0.99)
        assert found.n_outputs == pca.n_components_
        np.testing.assert_allclose(
            found.apply(others).abs(), np.abs(pca.transform(others.numpy())), rtol=0, atol=1e-8
        )


def test_standardising_has_the_rule_of_the_probes():
    x = _draw((50, 4)).float()
    x[:, 1] = 7.0
    x[:, 2] = 1e6 + 1e-3 * x[:, 2]
    x[:, 3] = 0.0
    theirs = fit_standardisation(x)
    torch.testing.assert_close(fit_standardising(x).apply(x), theirs.apply(x).float(), rtol=1e-6, atol=0)


def test_a_feature_that_is_constant_where_fitted_is_left_out_everywhere():
    x = torch.tensor([[1.0, 7.0, 0.0], [3.0, 7.0, 0.0]])
    others = torch.tensor([[5.0, 9.0, -4.0]])
    assert fit_standardising(x).apply(others).tolist() == [[3.0, 0.0, 0.0]]


def test_the_order_of_centring_and_unit_length_matters():
    x = _draw((20, 4))
    centred = fit_centring(x).apply(x)
    first = scale_to_unit_length(centred)
    unit = scale_to_unit_length(x)
    second = fit_centring(unit).apply(unit)
    np.testing.assert_allclose(first, reference.unit_length(reference.centre(x, x)), atol=1e-12)
    rows = reference.unit_length(x)
    np.testing.assert_allclose(second, reference.centre(rows, rows), atol=1e-12)
    assert (first - second).abs().max() > 0.1


@pytest.mark.parametrize("shape", [(40, 6), (7, 30)])
def test_components_are_uncorrelated_and_descend_and_keep_distances(shape):
    x = _draw(shape, seed=2)
    mapped = fit_pca(x, n_components=100).apply(x)
    assert mapped.shape[1] == min(shape[0] - 1, shape[1])
    covariance = mapped.T @ mapped
    off = covariance - covariance.diag().diag()
    assert off.abs().max() < 1e-9 * covariance.max()
    assert (covariance.diag().diff() < 0).all()
    ours, theirs = (torch.cdist(y, y, compute_mode="donot_use_mm_for_euclid_dist") for y in (mapped, x))
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_axes_are_orthonormal_down_to_the_least_energy():
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(20, 50, generator=rng, dtype=torch.float64)
    x = x * torch.logspace(0, -4.4, 20, dtype=torch.float64)[:, None]
    axes = fit_pca(x, n_components=19).axes
    torch.testing.assert_close(axes.T @ axes, torch.eye(19, dtype=torch.float64), rtol=0, atol=1e-12)


def test_the_larger_part_of_an_axis_is_positive_whatever_the_sign_of_the_data():
    x = _draw((30, 5), mean=0.0)
    axes, mirrored = fit_pca(x, n_components=5).axes, fit_pca(-x, n_components=5).axes
    torch.testing.assert_close(axes, mirrored, rtol=0, atol=1e-9)
    assert (axes.gather(0, axes.abs().argmax(dim=0, keepdim=True)) > 0).all()


def test_a_share_of_variance_takes_the_fewest_components_that_exceed_it():
    x = torch.diag(torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64))
    x = torch.cat([x, -x])  # variances 9 : 4 : 1
    assert [fit_pca(x, variance=v).n_outputs for v in (0.6, 0.65, 0.92, 0.93, 0.999)] == [1, 2, 2, 3, 3]


def test_more_components_than_directions_gives_the_directions():
    x = _draw((30, 2)) @ _draw((2, 6), seed=3)
    assert fit_pca(x, n_components=5).n_outputs == 2
    assert fit_pca(x.float(), variance=0.9999999).n_outputs == 2


@pytest.mark.parametrize("shape", [(6, 3), (3, 6), (1, 4)])
def test_rows_that_do_not_vary_have_one_component_that_is_zero(shape):
    x = torch.full(shape, 0.1)
    found = fit_pca(x, variance=0.99).apply(torch.ones(2, shape[1]))
    assert found.tolist() == [[0.0], [0.0]]


def test_rows_that_vary_by_rounding_of_single_precision_alone_have_one_component_that_is_zero():
    x = 1e3 + 1e-5 * _draw((20, 3), mean=0.0)
    assert fit_pca(x, n_components=3).apply(x).tolist() == [[0.0]] * 20


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_a_length_whose_square_is_out_of_range_is_a_length(scale):
    x = _draw((5, 3))
    torch.testing.assert_close(scale_to_unit_length(scale * x), scale_to_unit_length(x))


@pytest.mark.parametrize("scale", [1e-18, 1.0, 1e18])
@pytest.mark.parametrize("shape", [(40, 6), (7, 30)])
def test_the_scale_of_the_features_does_not_matter(scale, shape):
    x = _draw(shape).float()
    close = {"rtol": 1e-5, "atol": 1e-6}
    torch.testing.assert_close(scale_to_unit_length(scale * x), scale_to_unit_length(x), **close)
    torch.testing.assert_close(
        fit_standardising(scale * x).apply(scale * x), fit_standardising(x).apply(x), **close
    )
    torch.testing.assert_close(
        fit_pca(scale * x, n_components=3).apply(scale * x) / scale,
        fit_pca(x, n_components=3).apply(x),
        rtol=1e-4,
        atol=1e-5,
    )


def test_a_mean_that_is_large_beside_the_spread_costs_no_digits():
    spread = _draw((60, 4), mean=0.0)
    x = 1e5 + spread
    exact = x - 1e5
    torch.testing.assert_close(
        fit_pca(x, n_components=4).apply(x),
        torch.from_numpy(reference.pca(exact, exact, n_components=4)),
        rtol=0,
        atol=1e-7,
    )
    torch.testing.assert_close(
        fit_standardising(x).apply(x),
        torch.from_numpy(reference.standardise(exact, exact)),
        atol=1e-7,
        rtol=0,
    )


def test_single_precision_stays_and_is_rounded_once():
    x = _draw((40, 6)).float()
    for map_ in (fit_centring(x), fit_standardising(x), fit_pca(x, n_components=6)):
        found = map_.apply(x)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, map_.apply(x.double()).float(), rtol=0, atol=0)
    lengths = scale_to_unit_length(x).double().norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths), rtol=0, atol=2e-7)


def test_a_row_without_length_is_refused_by_its_number():
    x = torch.ones(6, 3)
    x[[1, 4]] = 0.0
    with pytest.raises(ZeroLengthError, match=r"2 rows have length zero .* such as rows \[1, 4\]") as caught:
        scale_to_unit_length(x)
    assert caught.value.rows == [1, 4]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: fit_centring(x[:0]), r"at least one of each, got \(0, 3\)"),
        (lambda x: fit_standardising(x[0]), r"must have shape \(n_rows, n_features\), .* got \(3,\)"),
        (lambda x: scale_to_unit_length(x / 0 * 0), "must be finite, got NaN or infinity"),
        (lambda x: fit_centring(x * torch.tensor([[1.0]] * 3 + [[torch.inf]])), "must be finite"),
        (lambda x: fit_centring(x).apply(x[:, :2]), r"shape \(n_rows, 3\) as in the fit, got \(4, 2\)"),
    ],
)
def test_what_cannot_be_transformed_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.ones(4, 3))
