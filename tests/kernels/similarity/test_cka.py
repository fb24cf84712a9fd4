"""CKA and distance correlation: against definitions, published values, limits and degenerate input."""

import math

import numpy as np
import pytest
import torch
from tests.kernels.in_words import in_words
from tests.reference import cka as reference

from rep_kedro.kernels.similarity import distance_sums, stimulus_sample
from rep_kedro.kernels.similarity.centred import centre
from rep_kedro.kernels.similarity.cka import compare_cka
from rep_kedro.kernels.similarity.distance_sums import median_distance

ESTIMATORS = ("biased", "debiased", "lange")


def draw(n=30, widths=(6, 9, 40), seed=0):
    generator = np.random.default_rng(seed)
    shared = generator.standard_normal((n, 4))
    return [
        shared @ generator.standard_normal((4, d)) + generator.standard_normal((n, d)) + 0.7 for d in widths
    ]


def compare(representations, memory_bytes=10**7, dtype=torch.float64, **request):
    tensors = [torch.as_tensor(x).to(dtype) for x in representations]
    [(_, values, reasons)] = compare_cka(tensors, {"asked": request}, memory_bytes=memory_bytes)
    return values, in_words(reasons)


def gaussian(width, unit="abs", estimator="debiased", **more):
    return {
        "kernel": "gaussian",
        "width": width,
        "width_unit": unit,
        "estimator": estimator,
        "seed": 0,
        **more,
    }


def all_pairs(function, representations):
    return np.array([[function(x, y) for y in representations] for x in representations])


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("n", [4, 5, 30])
def test_linear_cka_equals_its_definition(estimator, n):
    representations = draw(n)
    values, reasons = compare(representations, kernel="linear", estimator=estimator)
    want = all_pairs(lambda x, y: reference.linear_cka(x, y, estimator), representations)
    np.testing.assert_allclose(values, want, atol=1e-11)
    assert reasons == {}


@pytest.mark.parametrize("estimator", ["biased", "debiased"])
@pytest.mark.parametrize("memory_bytes", [1, 20_000, 10**7])
def test_gaussian_cka_equals_its_definition_in_both_units_of_width(estimator, memory_bytes):
    representations = draw()
    values, _ = compare(representations, memory_bytes, **gaussian(2.5, estimator=estimator))
    want = all_pairs(lambda x, y: reference.gaussian_cka(x, y, 2.5, 2.5, estimator), representations)
    np.testing.assert_allclose(values, want, atol=1e-11)

    values, _ = compare(representations, memory_bytes, **gaussian(0.4, "median", estimator))
    widths = {id(x): 0.4 * reference.median_distance(x) for x in representations}
    want = all_pairs(
        lambda x, y: reference.gaussian_cka(x, y, widths[id(x)], widths[id(y)], estimator), representations
    )
    np.testing.assert_allclose(values, want, atol=1e-11)


@pytest.mark.parametrize("estimator", ["biased", "debiased"])
def test_distance_correlation_equals_its_definition(estimator):
    representations = draw()
    values, _ = compare(representations, 30_000, kernel="distance", estimator=estimator)
    want = all_pairs(lambda x, y: reference.distance_correlation(x, y, estimator), representations)
    np.testing.assert_allclose(values, want, atol=1e-11)
    rooted, _ = compare(representations, kernel="distance", estimator=estimator, transform="root")
    np.testing.assert_allclose(rooted, np.sqrt(want), atol=1e-11)


def test_measures_asked_together_equal_those_asked_alone():
    requests = {
        "linear": {"kernel": "linear", "estimator": "debiased"},
        "narrow": gaussian(0.2, "median"),
        "wide": gaussian(0.8, "median", "biased"),
        "distance": {"kernel": "distance", "estimator": "debiased"},
        "batches": {"kernel": "linear", "estimator": "minibatch", "batch_size": 8, "seed": 1},
    }
    tensors = [torch.as_tensor(x) for x in draw()]
    together = {name: values for name, values, _ in compare_cka(tensors, requests, memory_bytes=10**6)}
    for name, request in requests.items():
        torch.testing.assert_close(together[name], compare(tensors, **request)[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", [32, 37])
def test_minibatch_cka_averages_unbiased_hsic_over_nearly_equal_batches(n):
    representations = draw(n)
    values, _ = compare(representations, kernel="linear", estimator="minibatch", batch_size=10, seed=5)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(5)).numpy()
    batches = np.array_split(order, math.ceil(n / 10))
    want = all_pairs(lambda x, y: reference.minibatch_cka(x, y, batches), representations)
    np.testing.assert_allclose(values, want, atol=1e-11)


def test_one_batch_of_all_stimuli_is_debiased_cka():
    values, _ = compare(draw(), kernel="linear", estimator="minibatch", batch_size=64, seed=5)
    torch.testing.assert_close(values, compare(draw(), kernel="linear", estimator="debiased")[0])


def test_batches_too_small_for_an_unbiased_estimate_are_refused():
    with pytest.raises(ValueError, match="batch_size of minibatch CKA must be at least 8, got 7"):
        compare(draw(), kernel="linear", estimator="minibatch", batch_size=7, seed=0)


def test_an_unknown_estimator_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="unknown estimator 'unbiased', allowed: biased, debiased"):
        compare(draw(), kernel="linear", estimator="unbiased")


def test_wide_kernels_tend_to_linear_cka():
    for estimator in ("biased", "debiased"):
        wide, _ = compare(draw(), **gaussian(1e3, "median", estimator))
        linear, _ = compare(draw(), kernel="linear", estimator=estimator)
        torch.testing.assert_close(wide, linear, rtol=0, atol=1e-5)


def test_independent_models_have_debiased_cka_near_zero_and_negative_values_stay():
    generator = np.random.default_rng(1)
    many = [generator.standard_normal((40, 200)) for _ in range(12)]
    debiased, _ = compare(many, kernel="linear", estimator="debiased")
    biased, _ = compare(many, kernel="linear", estimator="biased")
    off = debiased[~torch.eye(12, dtype=torch.bool)]
    assert off.abs().max() < 0.12
    assert abs(off.mean()) < 0.01
    assert off.min() < -0.01
    assert biased.min() > 0.8


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_models_have_similarity_one_and_angle_zero(dtype):
    x = draw()[0]
    tolerance = 1e-13 if dtype == torch.float64 else 1e-6
    for request in ({"kernel": "linear", "estimator": "biased"}, gaussian(0.4, "median")):
        values, _ = compare([x, x, x[:, ::-1].copy()], dtype=dtype, **request)
        np.testing.assert_allclose(values, 1, atol=tolerance)
        assert (values.diagonal() == 1).all()
    angle, _ = compare([x, x], dtype=dtype, kernel="linear", estimator="biased", transform="arccos")
    assert (angle.diagonal() == 0).all()
    assert angle.max() < math.sqrt(2 * tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_models_that_see_no_difference_are_undefined_and_named(dtype):
    blind = np.full((30, 3), 0.1)
    for request in ({"kernel": "linear", "estimator": "debiased"}, gaussian(0.4, "median"), gaussian(2.0)):
        values, reasons = compare([draw()[0], blind], dtype=dtype, **request)
        assert values.isnan().tolist() == [[False, True], [True, True]]
        assert reasons[0, 1] == "model 1: all stimuli have the same features up to rounding"


@pytest.mark.parametrize("n", [10, 30, 200])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_stimuli_that_are_all_equally_far_apart_leave_debiased_measures_undefined(dtype, n):
    apart = np.eye(n) * 3
    for request in (
        {"kernel": "linear", "estimator": "debiased"},
        {"kernel": "distance", "estimator": "debiased"},
        {"kernel": "linear", "estimator": "minibatch", "batch_size": 10, "seed": 0},
        gaussian(0.4, "median"),
    ):
        values, reasons = compare([draw(n)[0], apart], dtype=dtype, **request)
        assert values.isnan().tolist() == [[False, True], [True, True]], request
        assert "equally far apart" in reasons[1, 1]
    biased, reasons = compare([draw(n)[0], apart], dtype=dtype, kernel="linear", estimator="biased")
    assert not biased.isnan().any()
    assert reasons == {}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("width", [0.1, 1e-3, 1e-300])
def test_a_kernel_narrower_than_every_distance_compares_the_closest_pairs(width, dtype):
    drawn = [torch.as_tensor(x).to(dtype).numpy() for x in draw()]
    drawn[2] = np.concatenate([drawn[2][1:], drawn[2][:1]])  # so that another pair is the closest
    values, reasons = compare(drawn, dtype=dtype, **gaussian(width))
    want = [
        [reference.gaussian_cka(x, y, width, width, "debiased") for y in map(np.float64, drawn)]
        for x in map(np.float64, drawn)
    ]
    assert not reasons
    np.testing.assert_allclose(values, want, rtol=0, atol=1e-5)


def test_a_median_distance_of_zero_is_undefined():
    mostly_one = np.zeros((12, 3))
    mostly_one[0], mostly_one[1] = 1, 2
    values, reasons = compare([mostly_one, draw(12)[0]], **gaussian(0.4, "median"))
    assert values.isnan().tolist() == [[True, True], [True, False]]
    assert "median distance between its stimuli" in reasons[0, 1]


def test_the_median_of_many_stimuli_comes_from_a_seeded_sample(monkeypatch):
    x = torch.as_tensor(draw(200)[0])
    exact = reference.median_distance(x.numpy())
    assert median_distance(centre(x), torch.Generator()) == pytest.approx(exact, rel=1e-12)
    monkeypatch.setattr(distance_sums, "MEDIAN_SAMPLE", 100)
    first, again, other = (
        median_distance(centre(x), torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other
    assert first == pytest.approx(exact, rel=0.05)


def test_the_shift_of_functions_of_distance_does_not_change_values(monkeypatch):
    want, _ = compare(draw(), **gaussian(0.4, "median"))
    monkeypatch.setattr(stimulus_sample, "N_SAMPLED", 4)
    torch.testing.assert_close(compare(draw(), **gaussian(0.4, "median"))[0], want, rtol=0, atol=1e-12)


def test_single_precision_keeps_six_digits_and_little_less_of_wide_kernels():
    representations = draw(120, (10, 80, 300))
    for request, tolerance in (
        ({"kernel": "linear", "estimator": "debiased"}, 5e-7),
        ({"kernel": "distance", "estimator": "debiased"}, 1e-6),
        (gaussian(0.4, "median"), 1e-6),
        (gaussian(5.0, "median"), 3e-6),
    ):
        exact, _ = compare(representations, **request)
        single, _ = compare(representations, dtype=torch.float32, **request)
        torch.testing.assert_close(single, exact, rtol=0, atol=tolerance)


def test_duplicated_stimuli_are_kept_and_counted():
    doubled = [np.concatenate([x, x]) for x in draw(10)]
    for estimator in ("biased", "debiased"):
        values, _ = compare(doubled, kernel="linear", estimator=estimator)
        want = all_pairs(lambda x, y, how=estimator: reference.linear_cka(x, y, how), doubled)
        np.testing.assert_allclose(values, want, atol=1e-11)
    single, _ = compare(doubled, dtype=torch.float32, kernel="distance", estimator="debiased")
    want = all_pairs(lambda x, y: reference.distance_correlation(x, y, "debiased"), doubled)
    np.testing.assert_allclose(single, want, atol=1e-4)
