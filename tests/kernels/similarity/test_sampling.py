"""Estimates of what populations of stimuli and features give: their terms are unbiased, in exact averages."""

import math
from fractions import Fraction
from itertools import combinations, product

import numpy as np
import pytest
import torch
from tests.kernels.in_words import in_words
from tests.reference import sampling as reference

from rep_kedro.kernels.similarity import feature_sampling, shape_moments
from rep_kedro.kernels.similarity.centred import CentredFeatures
from rep_kedro.kernels.similarity.cka import compare_cka
from rep_kedro.kernels.similarity.feature_sampling import ONE_FEATURE, sum_distinct
from rep_kedro.kernels.similarity.sampling import compare_samples
from rep_kedro.kernels.similarity.shape_moments import estimate_moments, fit_square_root

DEBIASED = {"kernel": "linear", "estimator": "debiased"}
CKA = {"statistic": "cka_debiased_twice"}
SHAPE = {"statistic": "nbs_moments", "n_moments": 2, "n_orders": 3, "seed": 0}


def draw(widths=(4, 6, 5), n_stimuli=25, seed=0):
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((n_stimuli, 2))
    return [shared @ rng.standard_normal((2, d)) + rng.standard_normal((n_stimuli, d)) + 3 for d in widths]


def compare(representations, request):
    tensors = [torch.as_tensor(x) for x in representations]
    [(_, values, reasons)] = compare_samples(tensors, {"it": request}, memory_bytes=2**20)
    return values.numpy(), in_words(reasons)


def as_models(*features):
    """Take features as they are: sums over stimuli of one sample must not be scaled by that sample."""
    return [
        CentredFeatures(x - x.mean(dim=0), (x - x.mean(dim=0)).square().sum(dim=1), 1.0) for x in features
    ]


def population_hsic(x, y):
    """HSIC of Gram matrices averaged over all features of a population, and over all of its stimuli."""
    k, m = (z @ z.T / z.shape[1] for z in (x, y))
    h = np.eye(len(k)) - 1 / len(k)
    return np.trace(h @ k @ h @ m) / len(k) ** 2


def test_the_self_similarity_is_unbiased_over_all_samples_of_stimuli_and_features():
    """Every sample of 4 stimuli of 3, and of 2 features of 3, with repetition: all are equally probable."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 3))
    n, found = 4, []
    for stimuli in product(range(3), repeat=n):
        for features in product(range(3), repeat=2):
            [model] = as_models(torch.from_numpy(x[list(stimuli)][:, list(features)]))
            inner, own, _ = sum_distinct([model], memory_bytes=2**20)
            found.append(float(inner[0, 0] - own[0]) / (n * (n - 3) * 2))
    assert np.mean(found) == pytest.approx(population_hsic(x, x), rel=1e-10)


def test_the_numerator_is_unbiased_over_all_samples_of_stimuli_and_of_the_features_of_both():
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((3, 3)), rng.standard_normal((3, 2))
    n, found = 4, []
    for stimuli in product(range(3), repeat=n):
        rows = x[list(stimuli)], y[list(stimuli)]
        for a, b in product(range(3), range(2)):
            models = as_models(torch.from_numpy(rows[0][:, [a]]), torch.from_numpy(rows[1][:, [b]]))
            found.append(float(sum_distinct(models, memory_bytes=2**20)[0][0, 1]) / (n * (n - 3)))
    assert np.mean(found) == pytest.approx(population_hsic(x, y), rel=1e-10)


def test_few_features_of_a_large_population_give_the_cka_of_the_population():
    rng = np.random.default_rng(2)
    shared, mix = rng.standard_normal((80, 30)), rng.standard_normal((2, 30, 3000))
    x, y = shared @ mix[0], shared[:, :15] @ mix[1, :15]
    [(_, whole, _)] = compare_cka(list(map(torch.from_numpy, (x, y))), {"it": DEBIASED}, memory_bytes=2**20)
    found, once = [], []
    for _ in range(40):
        parts = [torch.from_numpy(z[:, rng.choice(3000, 40, replace=False)]) for z in (x, y)]
        found.append(compare(parts, CKA)[0][0, 1])
        [(_, values, _)] = compare_cka(parts, {"it": DEBIASED}, memory_bytes=2**20)
        once.append(values[0, 1].item())
    error = np.std(found) / math.sqrt(len(found))
    # a ratio of unbiased terms is nearly unbiased
    assert abs(np.mean(found) - whole[0, 1].item()) < 3 * error + 0.01
    assert np.mean(once) < whole[0, 1].item() - 0.1  # the bias that is taken off


def test_one_stimulus_far_from_the_others_leaves_the_digits_of_single_features():
    x = draw((3,), n_stimuli=6)[0].round(3)
    x[3] *= 1e6
    found = float(feature_sampling._sum_of_single_features(torch.from_numpy(x)))
    assert found == pytest.approx(float(sum(exact_self_product(c) for c in x.T)), rel=1e-12)


def exact_self_product(column):
    """Return n (n - 3) times the unbiased HSIC of one feature with itself, in fractions."""
    c, n = [Fraction(v) for v in column], len(column)
    gram = [[a * b * (i != j) for j, b in enumerate(c)] for i, a in enumerate(c)]
    rows = [sum(row) for row in gram]
    squares, ends = sum(v * v for row in gram for v in row), sum(r * r for r in rows)
    return squares - Fraction(2, n - 2) * ends + sum(rows) ** 2 / Fraction((n - 1) * (n - 2))


@pytest.mark.parametrize("numbers_at_once", [1, 60, 2**20])
def test_twice_corrected_cka_is_the_definition_however_many_features_at_once(numbers_at_once, monkeypatch):
    monkeypatch.setattr(feature_sampling, "NUMBERS_AT_ONCE", numbers_at_once)
    models = draw()
    values, reasons = compare(models, CKA)
    assert not reasons
    np.testing.assert_allclose(
        values, [[reference.cka_debiased_twice(x, y) for y in models] for x in models], atol=1e-12
    )


def test_what_has_nothing_in_common_has_a_reason():
    x, y = draw((4, 6))
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((25, 25)) + 0)[0]
    values, reasons = compare([x, y[:, :1], np.full((25, 2), 0.3), basis[:, :4]], CKA)
    assert reasons[0, 1] == f"model 1: {ONE_FEATURE}"
    assert reasons[0, 2] == "model 2: all stimuli have the same features up to rounding"
    assert reasons[0, 3].startswith("model 3: different features have nothing in common")
    assert values[0, 0] == 1
    assert np.isnan(values[1:]).all()


@pytest.mark.parametrize("request_", [SHAPE, {**SHAPE, "n_moments": 1}, {**SHAPE, "n_moments": 4}])
def test_shape_moments_are_the_definition(request_):
    models = draw()
    generator = torch.Generator().manual_seed(0)
    orders = [torch.randperm(25, generator=generator).numpy() for _ in range(3)]
    values, reasons = compare(models, request_)
    assert not reasons
    expected = [[reference.nbs_moments(x, y, request_["n_moments"], orders) for y in models] for x in models]
    np.testing.assert_allclose(values, expected, rtol=1e-8)


def test_moments_are_the_mean_over_increasing_tuples():
    x, y = (torch.from_numpy(z) for z in draw((3, 4), n_stimuli=7))
    a, b = x @ x.T, y @ y.T
    found = estimate_moments(a, b, 2)
    pairs = [a[i, j] * b[j, i] for i, j in combinations(range(7), 2)]
    fours = [a[i, j] * b[j, k] * a[k, m] * b[m, i] for i, j, k, m in combinations(range(7), 4)]
    assert found.tolist() == pytest.approx([float(np.mean(pairs)), float(np.mean(fours))], rel=1e-12)


def test_moments_are_unbiased_over_all_samples():
    """Every sample of 4 stimuli of a population of 3 of mean zero."""
    rng = np.random.default_rng(0)
    x, y = (z - z.mean(axis=0) for z in (rng.standard_normal((3, 2)), rng.standard_normal((3, 3))))
    found = []
    for stimuli in product(range(3), repeat=4):
        a, b = (torch.from_numpy(z[list(stimuli)] @ z[list(stimuli)].T) for z in (x, y))
        found.append(estimate_moments(a, b, 2).numpy())
    cross = x.T @ y / 3
    expected = [np.trace(cross @ cross.T), np.trace(cross @ cross.T @ cross @ cross.T)]
    np.testing.assert_allclose(np.mean(found, axis=0), expected, rtol=1e-10)


def test_the_polynomial_is_the_square_root_up_to_an_error_that_more_moments_make_smaller():
    s = np.linspace(0, 1, 1001)
    errors = []
    for n_moments in (1, 2, 3, 5):
        weights = fit_square_root(n_moments).numpy()
        assert weights == pytest.approx(reference.polynomial(n_moments), rel=1e-4)
        errors.append(np.abs(s - sum(w * s ** (2 * p + 2) for p, w in enumerate(weights))).mean())
    assert errors == sorted(errors, reverse=True)
    assert errors[2] < 0.04


def test_noise_raises_the_plain_similarity_of_few_stimuli_and_not_that_from_moments():
    rng = np.random.default_rng(0)
    found, plain = [], []
    for _ in range(20):
        shared = rng.standard_normal((60, 3))
        x, y = (np.hstack([shared, rng.standard_normal((60, 37))]) for _ in range(2))
        found.append(compare([x, y], {**SHAPE, "n_moments": 3})[0][0, 1])
        cross = (x - x.mean(axis=0)).T @ (y - y.mean(axis=0))
        sizes = [np.linalg.norm(z - z.mean(axis=0)) for z in (x, y)]
        plain.append(np.linalg.norm(cross, "nuc") / math.prod(sizes))
    truth = 3 / 40
    assert np.mean(plain) > 5 * truth
    assert abs(np.mean(found) - truth) < 0.5 * truth


def test_more_moments_than_stimuli_give_are_refused():
    with pytest.raises(ValueError, match="7 moments take at least 28 stimuli, got 25"):
        compare(draw(), {**SHAPE, "n_moments": 7})


def test_a_constant_model_has_no_shape():
    values, reasons = compare([draw()[0], np.ones((25, 3))], SHAPE)
    assert np.isnan(values).tolist() == [[False, True], [True, True]]
    assert reasons[0, 1] == "model 1: all stimuli have the same features up to rounding"
    assert shape_moments.compare_shape_moments([torch.ones(25, 3)], n_moments=1, n_orders=1, seed=0)[1]


def test_models_without_any_covariance_have_no_shape_in_common():
    x, y = np.zeros((2, 26, 1))
    x[:13:12, 0], y[13::12, 0] = (1, -1), (1, -1)
    values, reasons = compare([x, y], SHAPE)
    assert not reasons
    assert values[0, 1] == values[1, 0] == 0
