"""Feature-reweighted RSA, against least squares on all pairs of stimuli and weights that are known."""

import numpy as np
import pytest
import torch
from tests.kernels.in_words import in_words
from tests.reference import reweighting as reference

from rep_kedro.kernels.similarity.reweighting import (
    ALL_EQUAL,
    compare_reweighted,
    multiply_rdms,
    multiply_with_target,
)

REQUEST = {"n_folds": 3, "seed": 2}


def draw(widths=(4, 7, 5), n_stimuli=24, seed=0):
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((n_stimuli, 3))
    return [shared @ rng.standard_normal((3, d)) + rng.standard_normal((n_stimuli, d)) + 5 for d in widths]


def compare(representations, **request):
    tensors = [torch.as_tensor(x) for x in representations]
    [(_, values, reasons)] = compare_reweighted(tensors, {"it": request or REQUEST}, memory_bytes=2**20)
    return values.numpy(), in_words(reasons)


def deal(n_stimuli):
    order = torch.randperm(n_stimuli, generator=torch.Generator().manual_seed(2))
    return [fold.numpy() for fold in order.tensor_split(3)]


@pytest.mark.parametrize("widths", [(4, 7, 5), (1, 2, 40)])
def test_every_entry_is_the_definition(widths):
    models = draw(widths)
    values, reasons = compare(models)
    assert not reasons
    expected = [[reference.rsa_reweighted(x, y, deal(24)) for y in models] for x in models]
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-9)


def test_sums_of_products_are_those_over_all_pairs():
    x, y = (z - z.mean(axis=0) for z in draw((3, 4)))
    rdms, target = reference.feature_rdms(x), reference.feature_rdms(y).sum(axis=1)
    tensors = [torch.from_numpy(z) for z in (x, x**2, y)]
    np.testing.assert_allclose(multiply_rdms(*tensors[:2]), rdms.T @ rdms, rtol=1e-12)
    np.testing.assert_allclose(multiply_with_target(*tensors), rdms.T @ target, rtol=1e-12)


def test_a_model_whose_features_are_weighted_is_predicted_and_plain_rsa_does_not_see_it():
    [x] = draw((6,), 60)
    y = x * [10, 0.1, 3, 0.0, 5, 0.1]
    values, _ = compare([x, y[:, y.any(axis=0)]])
    plain = np.corrcoef(*(reference.feature_rdms(z).sum(axis=1) for z in (x, y)))[0, 1]
    assert values[0, 1] == pytest.approx(1, abs=1e-6)
    assert plain < 0.9
    assert values[1, 0] < 0.99  # the feature that is missing is not found again


def test_unrelated_models_are_near_zero_although_weights_are_fitted():
    rng = np.random.default_rng(0)
    values, _ = compare([rng.standard_normal((90, 30)), rng.standard_normal((90, 30))])
    assert abs(values[0, 1]) < 0.1
    assert abs(values[1, 0]) < 0.1


def test_golden_value_of_one_feature_is_plain_rsa_on_held_out_pairs():
    x, y = draw((1, 3))
    pairs = [reference.feature_rdms(z[test]).sum(axis=1) for test in deal(24) for z in (x, y)]
    scale = []
    for test in deal(24):
        a, b = (reference.feature_rdms(np.delete(z, test, axis=0)).sum(axis=1) for z in (x, y))
        scale.append(a @ b / (a @ a))
    predicted = np.concatenate([s * d for s, d in zip(scale, pairs[::2], strict=True)])
    expected = np.corrcoef(predicted, np.concatenate(pairs[1::2]))[0, 1]
    assert compare([x, y])[0][0, 1] == pytest.approx(expected, abs=1e-12)


def test_doubled_and_idle_features_make_no_difference_and_the_undefined_has_a_reason():
    x, y = draw((4, 6))
    expected, _ = compare([x, y])
    once = np.zeros((24, 1))
    once[deal(24)[0][0]] = 1.0
    values, reasons = compare([np.hstack([x, x, np.full((24, 1), 0.1)]), y, np.full((24, 2), 0.1), once])
    np.testing.assert_allclose(values[:2, :2], expected, rtol=0, atol=1e-5)
    assert reasons[0, 2] == "model 2: all stimuli have the same features up to rounding"
    assert reasons[3, 0] == ALL_EQUAL  # it varies where weights are not fitted, and does not where they are
    assert np.isfinite(values[0, 3])


@pytest.mark.parametrize("factor", [1e-200, 1e200])
def test_very_small_and_very_large_features_make_no_difference(factor):
    x, y = draw((4, 6))
    np.testing.assert_allclose(compare([factor * x, y])[0], compare([x, y])[0], rtol=0, atol=1e-10)


def test_folds_of_a_single_stimulus_are_refused():
    with pytest.raises(ValueError, match="20 folds of at least 2 stimuli take 40 stimuli, got 24"):
        compare(draw(), n_folds=20, seed=0)
