"""Held-out predictions of a model by another, against regressions solved one by one, and scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn.cross_decomposition import PLSRegression
from sklearn.linear_model import LinearRegression, Ridge
from tests.kernels.in_words import in_words
from tests.reference import predictivity as reference

from rep_kedro.kernels.similarity import held_out, partial_least_squares, ridge
from rep_kedro.kernels.similarity.predictivity import compare_predictivity

RIDGE = {"regression": "ridge", "average": "all", "n_folds": 4, "seed": 1}
PLS = {**RIDGE, "regression": "pls", "n_components": 3}

RIDGE_BY_DEFINITION = {
    "all": reference.ridge_r2,
    "each": reference.ridge_r2_mean,
    "correlation": reference.ridge_r_mean,
}
PLS_BY_DEFINITION = {
    "all": reference.pls_r2,
    "each": reference.pls_r2_mean,
    "correlation": reference.pls_r_mean,
}


def draw(widths=(4, 9, 6), n_stimuli=30, seed=0, noise=1.0):
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((n_stimuli, 3))
    return [
        shared @ rng.standard_normal((3, d)) + noise * rng.standard_normal((n_stimuli, d)) + 5 for d in widths
    ]


def compare(representations, memory_bytes=2**20, **request):
    tensors = [torch.as_tensor(x) for x in representations]
    [(_, values, reasons)] = compare_predictivity(tensors, {"it": request}, memory_bytes=memory_bytes)
    return values.numpy(), in_words(reasons)


def deal(n_stimuli, n_folds=4, seed=1):
    order = torch.randperm(n_stimuli, generator=torch.Generator().manual_seed(seed))
    return [fold.numpy() for fold in order.tensor_split(n_folds)]


@pytest.mark.parametrize("memory_bytes", [1, 8000, 2**22])
@pytest.mark.parametrize("average", ["all", "each", "correlation"])
@pytest.mark.parametrize("widths", [(4, 9, 6), (40, 5, 33)])
def test_ridge_is_the_definition_whatever_the_memory_and_with_more_features_than_stimuli(
    widths, average, memory_bytes
):
    models, define = draw(widths), RIDGE_BY_DEFINITION[average]
    values, reasons = compare(models, memory_bytes, **{**RIDGE, "average": average})
    assert not reasons
    expected = [[define(x, y, deal(30)) for y in models] for x in models]
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("average", ["all", "each", "correlation"])
@pytest.mark.parametrize("n_components", [1, 3, 7])
def test_pls_is_the_definition_below_and_at_all_components(n_components, average):
    models, define = draw((5, 12, 33)), PLS_BY_DEFINITION[average]
    values, _ = compare(models, **{**PLS, "n_components": n_components, "average": average})
    expected = [[define(x, y, deal(30), n_components) for y in models] for x in models]
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("offset", [2.0**40, -(2.0**40)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pls_does_not_see_an_offset_that_the_numbers_carry_exactly(dtype, offset):
    models = [torch.as_tensor(x * 4).round().to(dtype) * 2.0**17 for x in draw((5, 12), n_stimuli=60)]
    shifted = [x + offset for x in models]
    assert all(torch.equal(y - offset, x) for x, y in zip(models, shifted, strict=True))
    expected = [
        [reference.pls_r2(x.double().numpy(), y.double().numpy(), deal(60), 3) for y in models]
        for x in models
    ]
    np.testing.assert_allclose(compare(shifted, **PLS)[0], expected, rtol=0, atol=1e-9)


def r2_of(regression, x, y):
    errors, baseline = 0.0, 0.0
    for test in deal(len(x)):
        train = np.delete(np.arange(len(x)), test)
        predicted = regression.fit(x[train], y[train]).predict(x[test])
        errors += np.sum((y[test] - predicted) ** 2)
        baseline += np.sum((y[test] - y[train].mean(axis=0)) ** 2)
    return 1 - errors / baseline


@pytest.mark.parametrize("n_components", [2, 4])
def test_pls_predicts_what_that_of_scikit_learn_predicts(n_components):
    x, y = draw((12, 7))
    oracle = PLSRegression(n_components=n_components, scale=False, tol=1e-14, max_iter=10_000)
    values, _ = compare([x, y], **{**PLS, "n_components": n_components})
    assert values[0, 1] == pytest.approx(r2_of(oracle, x, y), abs=1e-7)
    assert values[1, 0] == pytest.approx(r2_of(oracle, y, x), abs=1e-7)


def test_pls_of_all_components_is_least_squares():
    x, y = draw((4, 7))
    values, _ = compare([x, y], **{**PLS, "n_components": 25})
    assert values[0, 1] == pytest.approx(r2_of(LinearRegression(), x, y), abs=1e-12)


@pytest.mark.parametrize("average", ["all", "each", "correlation"])
def test_pls_of_all_components_does_not_see_the_sizes_of_the_predicting_features(average):
    x, y = draw((5, 7))
    request = {**PLS, "n_components": 25, "average": average}
    before, after = (compare([z, y], **request)[0][0] for z in (x, x * 10.0 ** np.linspace(-10, 10, 5)))
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-9)


@pytest.mark.parametrize("share", [1e-3, 1.0])
def test_a_ridge_of_one_strength_predicts_what_that_of_scikit_learn_predicts(share, monkeypatch):
    monkeypatch.setattr(ridge, "RIDGES", (share,))
    x, y = draw((6, 7), n_stimuli=32)
    x = x / np.sqrt(np.mean(x.var(axis=0)))

    class Relative(Ridge):
        def fit(self, features, targets):
            self.alpha = share * np.sum((features - features.mean(axis=0)) ** 2)
            return super().fit(features, targets)

    values, _ = compare([x, y], **RIDGE)
    assert values[0, 1] == pytest.approx(r2_of(Relative(), x, y), abs=1e-12)


def test_pls_of_few_components_sees_the_scale_of_each_feature():
    x, y = draw((12, 7))
    request = {**PLS, "average": "correlation"}
    before, after = (compare([z, y], **request)[0][0, 1] for z in (x, x * 2.0 ** np.arange(12)))
    assert abs(after - before) > 1e-2


def test_correlation_of_predictions_is_blind_to_a_wrong_scale_and_to_features_that_nothing_predicts():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 1))
    constant = np.full((40, 1), 3.0)
    values, _ = compare([x, np.hstack([x, -2 * x, constant])], **{**RIDGE, "average": "correlation"})
    assert values[0, 1] == pytest.approx(1, abs=1e-9)
    sums = torch.zeros(3, 1, 1, dtype=torch.float64)
    y = torch.as_tensor(rng.standard_normal((40, 1)))
    for scale, want in ((0.1, 1.0), (-5.0, -1.0), (0.0, 0.0)):
        stack = held_out.stack_features([y], n_folds=2, seed=0)
        held_out.add_predictions(sums.zero_(), 0, slice(0, 1), stack.features, scale * stack.features)
        facts = (stack.features.sum(dim=0), stack.features.square().sum(dim=0))
        assert float(held_out.correlation_of_each(sums, stack, *facts)) == pytest.approx(want, abs=1e-12)


def test_each_feature_has_a_strength_of_its_own_only_where_features_are_averaged():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 20)) * 2.0 ** -np.arange(20)
    y = np.stack([x[:, 0] + rng.standard_normal(60), x[:, 5] * 100], axis=1)
    of_each, _ = compare([x, y], **{**RIDGE, "average": "each"})
    alone = [compare([x, y[:, [column]]], **RIDGE)[0][0, 1] for column in (0, 1)]
    assert of_each[0, 1] == pytest.approx(np.mean(alone), abs=1e-12)
    assert alone[1] > 0.99
    assert compare([x, y], **RIDGE)[0][0, 1] != pytest.approx(
        np.average(alone, weights=y.var(axis=0)), abs=1e-3
    )


def test_unrelated_models_predict_nothing_of_each_other_and_a_linear_map_is_found():
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((200, 30)), rng.standard_normal((200, 30))
    for request in (RIDGE, PLS):
        unrelated, _ = compare([x, y], **request)
        assert -0.5 < unrelated[0, 1] < 0.02
    wide = x @ rng.standard_normal((30, 50))
    mapped, _ = compare([x, wide, x[:, :10]], **RIDGE)
    assert mapped[0, 1:].min() > 0.999
    assert mapped[2, 0] < 0.4  # ten of thirty features do not predict the rest


def test_golden_values_on_a_line():
    """Targets 0 to 7 of a predictor that is the target itself, then of one that knows only odd from even."""
    y = np.arange(8.0)[:, None]
    odd = y % 2
    values, _ = compare([y, odd], **{**PLS, "n_components": 1, "n_folds": 2})
    order = np.concatenate(deal(8, 2)).tolist()
    halves = order[:4], order[4:]
    errors = baseline = 0.0
    for test, train in (halves, halves[::-1]):
        for stimulus in test:
            like = [s for s in train if s % 2 == stimulus % 2]
            errors += (stimulus - sum(like) / len(like)) ** 2
            baseline += (stimulus - sum(train) / 4) ** 2
    assert values[0, 0] == pytest.approx(1, abs=1e-12)
    assert values[1, 0] == pytest.approx(1 - errors / baseline, abs=1e-12)


@pytest.mark.parametrize("request_", [RIDGE, PLS, {**RIDGE, "average": "each"}])
def test_constant_features_are_left_out_and_a_constant_model_has_a_reason(request_):
    x, y = draw((4, 6))
    constant = np.full((30, 2), 0.1)
    expected, _ = compare([x, y], **request_)
    values, reasons = compare([np.hstack([constant, x]), y, constant], **request_)
    np.testing.assert_allclose(values[:2, :2], expected, rtol=0, atol=1e-10)
    assert set(reasons) == {(0, 2), (1, 2), (2, 0), (2, 1), (2, 2)}
    assert np.isnan(values[:, 2]).all()
    assert reasons[0, 2] == "model 2: all stimuli have the same features up to rounding"


@pytest.mark.parametrize("request_", [RIDGE, PLS])
def test_a_predictor_that_varies_only_on_held_out_stimuli_predicts_the_mean_there(request_):
    x, y = np.zeros((30, 2)), draw((4,))[0]
    x[deal(30)[1][0]] = 1.0
    [value] = compare([x, y], **request_)[0][0, 1:]
    assert np.isfinite(value)
    assert value <= 1e-6


def test_the_leading_eigenvector_of_a_large_matrix_is_found_by_iterating(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(120, 150, generator=generator, dtype=torch.float64)
    eigh = torch.linalg.eigh
    exact = eigh(x @ x.T).eigenvectors[:, -1]
    sizes = []
    monkeypatch.setattr(torch.linalg, "eigh", lambda m: (sizes.append(len(m)), eigh(m))[1])
    assert abs(float(partial_least_squares.lead(x @ x.T) @ exact)) == pytest.approx(1, abs=1e-12)
    assert max(sizes) < 120
    monkeypatch.setattr(partial_least_squares, "MAX_STEPS", 8)
    assert abs(float(partial_least_squares.lead(x @ x.T) @ exact)) == pytest.approx(1, abs=1e-12)
    assert max(sizes) == 120


def test_folds_are_dealt_by_the_seed_and_leave_out_no_stimulus():
    x = torch.arange(22.0).view(11, 2)
    stack = held_out.stack_features([x], n_folds=3, seed=5)
    assert [test.stop - test.start for test in stack.tests] == [4, 4, 3]
    assert sorted(stack.order.tolist()) == list(range(11))
    assert stack.order.tolist() != held_out.stack_features([x], n_folds=3, seed=6).order.tolist()


def test_more_folds_than_stimuli_are_refused():
    with pytest.raises(ValueError, match="n_folds must be between 2 and the number of stimuli, 30, got 31"):
        compare(draw(), **{**RIDGE, "n_folds": 31})
