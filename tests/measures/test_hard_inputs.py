"""Every registered measure on features that misled others: tiny, huge, far from zero, in float32, twice."""

import functools
import math

import numpy as np
import pytest
import torch
from tests.measures.hard_inputs import HARD_INPUTS, NAMES, disagreement, expect
from tests.measures.hard_inputs import compare as compare_hard

from rep_kedro.measures import MEASURES, Invariance, compare_models
from rep_kedro.measures.compare import NO_REASON

FEATURE_MEASURES = [name for name, measure in MEASURES.items() if measure.compares == "features"]
SCALABLE = [name for name in FEATURE_MEASURES if Invariance.ISOTROPIC_SCALING in MEASURES[name].invariances]
MOVABLE = [name for name in FEATURE_MEASURES if Invariance.TRANSLATION in MEASURES[name].invariances]
# the arc cosine of one and the root of zero are uncertain by the root of the rounding
ANGLES = ("angular", "procrustes", "soft_match", "size_and_shape")
EXACT = (
    "cka_linear_debiased",
    "cka_linear_biased",
    "cka_rbf_median_0.4_debiased",
    "distance_correlation_debiased",
    "rsa_correlation_spearman",
    "rsa_squared_euclidean_cosine",
    "nbs",
    "procrustes",
    "permutation_procrustes",
    "mutual_knn_10",
    "jaccard_10",
)
CHANCE_IS_ZERO = (
    "cka_linear_debiased",
    "cka_rbf_median_0.8_debiased",
    "distance_correlation_debiased",
    "rsa_correlation_spearman",
)
CHANCE_IS_KNOWN = (
    *CHANCE_IS_ZERO,
    "cka_linear_biased",
    "mutual_knn_10",
    "linear_regression_r2",
    "cca_mean_squared",
    "information_imbalance",
)


LARGEST_DISAGREEMENT = 1e-5  # relative to the range of a measure


@pytest.mark.parametrize("title", HARD_INPUTS, ids=lambda title: title.replace(" ", "-"))
def test_every_measure_is_what_its_id_says_on_inputs_that_cost_digits(title):
    models = HARD_INPUTS[title]
    answers = compare_hard(models)
    assert answers.keys() == set(NAMES)
    wrong = {name: why for name, found in answers.items() if (why := differs(name, found, models))}
    assert not wrong


def differs(name, found, models):
    """Return how a measure's values differ from its definition; nothing where they do not."""
    expected = expect(name, models)
    undefined = {pair for pair in ((0, 1), (1, 0)) if np.isnan(expected[pair])}
    if {pair for pair in ((0, 1), (1, 0)) if np.isnan(found.values[pair])} != undefined:
        return f"undefined for {undefined}, got {found.values}"
    if any(found.reasons[pair] == NO_REASON for pair in undefined):
        return "undefined without a reason"
    size = disagreement(name, found.values, expected)
    return "" if size <= LARGEST_DISAGREEMENT else f"off by {size:.1e} of its range"


def draw(n=40, widths=(5, 8, 6), seed=0):
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    return [
        0.2
        * (
            shared @ torch.randn(3, d, generator=generator, dtype=torch.float64)
            + torch.randn(n, d, generator=generator, dtype=torch.float64)
        )
        for d in widths
    ]


def compare(representations, names=FEATURE_MEASURES, memory_bytes=2**22):
    answers = compare_models(representations, names, memory_bytes=memory_bytes)
    return {name: comparison.values for name, comparison in answers}


def assert_alike(found, expected, tolerance):
    assert found.keys() == expected.keys()
    for name, values in found.items():
        off = ~np.eye(len(values), dtype=bool)
        assert not np.isnan(values).any(), name
        np.testing.assert_allclose(values[off], expected[name][off], rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("factor", [1e-3, 1e3, 1e-12])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_the_size_of_features_makes_no_difference(factor, dtype, tolerance):
    x, y, z = (r.to(dtype) for r in draw())
    found = compare([x * factor, y / factor, z], SCALABLE)
    assert_alike(found, compare_unscaled(dtype), tolerance)


@functools.cache
def compare_unscaled(dtype):
    return compare([r.to(dtype) for r in draw()], SCALABLE)


def test_a_mean_thousands_of_times_the_spread_makes_no_difference():
    moved = [x + 1000 * torch.linspace(1, 2, x.shape[1], dtype=x.dtype) for x in draw()]
    assert_alike(compare(moved, MOVABLE), compare(draw(), MOVABLE), 1e-8)


@pytest.mark.parametrize("shift", [0.0, 300.0])
def test_single_precision_gives_what_double_precision_gives_of_the_same_numbers(shift):
    rounded = [(x + shift).float() for x in draw()]
    assert_alike(compare(rounded), compare([x.double() for x in rounded]), 2e-5)


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float64, 1e-12), (torch.float32, 1e-7)])
def test_a_copy_of_a_model_is_compared_like_the_model_itself(dtype, rounding):
    x, y, _ = (r.to(dtype) for r in draw())
    for name, values in compare([x, y, x.clone()]).items():
        tolerance = 2e-6 if any(word in name for word in ANGLES) else rounding
        np.testing.assert_allclose(values[0], values[2], rtol=0, atol=tolerance, err_msg=name)
        np.testing.assert_allclose(values[:, 0], values[:, 2], rtol=0, atol=tolerance, err_msg=name)
        assert values[0, 2] == pytest.approx(values[0, 0], abs=tolerance), name


def test_a_copy_of_a_model_is_exactly_the_model_to_measures_that_need_no_arc_cosine():
    wide = draw(40, (30, 9))
    for seed in range(5):
        x = wide[0] + 0.1 * draw(40, (30,), seed)[0]
        for name, values in compare([x, wide[1], x.clone()], EXACT).items():
            best = MEASURES[name].value_range[1 if MEASURES[name].larger_is_more_similar else 0]
            assert (values[::2, ::2] == best).all(), name


@pytest.mark.parametrize("memory_bytes", [30_000, 2**22])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_matrix_of_a_symmetric_measure_is_exactly_symmetric(dtype, memory_bytes):
    representations = [x.to(dtype) for x in draw(33, (5, 60, 8, 8))]
    for name, values in compare(representations, memory_bytes=memory_bytes).items():
        if MEASURES[name].symmetric:
            np.testing.assert_array_equal(values, values.T, err_msg=name)


def test_unrelated_models_are_at_the_chance_level_of_the_measure():
    generator = torch.Generator().manual_seed(3)
    n, d, k = 400, 40, 10
    pair = [torch.randn(n, d, generator=generator, dtype=torch.float64) for _ in range(2)]
    values = {
        name: v[0, 1] for name, v in compare(pair, [n for n in FEATURE_MEASURES if "tau" not in n]).items()
    }
    assert all(abs(values[name]) < 0.02 for name in CHANCE_IS_ZERO)
    assert values["cka_linear_biased"] == pytest.approx(d / n, abs=0.02)  # the bias that debiasing takes off
    assert values["mutual_knn_10"] == pytest.approx(k / (n - 1), abs=0.01)
    assert values["linear_regression_r2"] == pytest.approx(d / (n - 1), abs=0.02)
    assert values["cca_mean_squared"] == pytest.approx(d / (n - 1), abs=0.02)
    assert values["information_imbalance"] == pytest.approx(1, abs=0.1)


def test_debiased_values_below_zero_are_kept():
    found = [
        compare(draw_unrelated(seed), ["cka_linear_debiased"])["cka_linear_debiased"] for seed in range(8)
    ]
    assert min(values[0, 1] for values in found) < -0.005
    assert not any(math.isnan(values[0, 1]) for values in found)


def draw_unrelated(seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(40, 30, generator=generator, dtype=torch.float64) for _ in range(2)]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_outputs_are_compared_on_a_gpu_as_on_the_processor():
    logits = [5 * x.float() for x in draw(500, (7, 7, 7))]
    names = [name for name, measure in MEASURES.items() if measure.compares == "outputs"]
    on_gpu = dict(compare_models(logits, names, memory_bytes=2**22, device="cuda"))
    for name, values in compare(logits, names).items():
        np.testing.assert_allclose(on_gpu[name].values, values, atol=1e-5, err_msg=name)
