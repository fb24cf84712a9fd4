"""Spectral measures against their definitions, published vectors and hand-made cases."""

import math

import pytest
import torch
from tests.reference import spectrum as reference

from rep_kedro.kernels.layers import spectrum

MEASURES_OF_ONE_SPECTRUM = [
    spectrum.measure_intrinsic_dimension,
    spectrum.measure_saturation,
    spectrum.measure_rankme_uncentred_sigma,
    spectrum.measure_effective_rank_centred_lambda,
    spectrum.measure_von_neumann_entropy_centred_lambda,
    spectrum.measure_participation_ratio_centred_lambda,
    spectrum.measure_stable_rank_uncentred_sigma,
    spectrum.measure_nesum_centred_lambda,
    spectrum.measure_condition_number_sigma,
]


def _draw_spectrum(seed=0, n=12):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, generator=generator, dtype=torch.float64).pow(3)


@pytest.mark.parametrize(
    ("shares", "delve", "reach"),
    [
        ([1.0] * 10, 10, 10),
        ([98, 2], 1, 2),
        ([50, 50], 2, 2),
        ([995, 5], 1, 1),
        ([960, 35, 5], 2, 2),
        ([975, 20, 5], 1, 2),
        ([1, 0, 0, 0], 1, 1),
        ([600, 300, 80, 15, 5], 3, 4),
        ([70, 20, 6, 3, 1], 4, 4),
        ([50, 30, 15, 3, 2], 4, 5),
    ],
)
def test_intrinsic_dimension_of_published_vectors(shares, delve, reach):
    eigenvalues = torch.tensor(shares, dtype=torch.float64)
    assert spectrum.measure_intrinsic_dimension(eigenvalues, rule="reach") == reach
    assert spectrum.measure_intrinsic_dimension(eigenvalues, rule="delve") == delve
    assert spectrum.measure_saturation(eigenvalues) == reach / len(shares)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("delta", [0.1, 0.5, 0.9, 0.99, 0.999])
def test_intrinsic_dimension_follows_its_rule_for_any_delta(seed, delta):
    eigenvalues = _draw_spectrum(seed)
    values = eigenvalues.tolist()
    assert spectrum.measure_intrinsic_dimension(eigenvalues, delta=delta) == reference.smallest_k_reaching(
        values, delta
    )
    assert spectrum.measure_intrinsic_dimension(
        eigenvalues, delta=delta, rule="delve"
    ) == reference.delve_dimension(values, delta)


def test_delta_one_counts_the_directions_with_variance():
    assert spectrum.measure_intrinsic_dimension(torch.tensor([3.0, 0.1, 1e-9, 0.0, 0.0]), delta=1.0) == 3


@pytest.mark.parametrize(
    ("sigma", "epsilon", "expected", "tolerance"),
    [
        ([4, 3, 2, 1], 1e-7, 3.596116, 1e-6),
        ([4, 3, 2, 1], 0.0, 3.596115, 1e-6),
        ([4, 3, 2, 1], 1e-5, 3.596189, 1e-6),
        ([1] * 8, 1e-7, 8.000007, 1e-6),
        ([1] + [0] * 511, 1e-7, 1.00082, 1e-5),
        ([1] + [0] * 1023, 1e-7, 1.00165, 1e-5),
        ([1] + [0] * 2047, 1e-7, 1.00330, 1e-5),
        ([1] + [0] * 511, 1e-5, 1.06059, 1e-5),
        ([1] + [0] * 1023, 1e-5, 1.12498, 1e-5),
        ([1] + [0] * 2047, 1e-5, 1.26574, 1e-5),
    ],
)
def test_rankme_of_published_vectors(sigma, epsilon, expected, tolerance):
    value = spectrum.measure_rankme_uncentred_sigma(torch.tensor(sigma, dtype=torch.float64), epsilon=epsilon)
    assert value == pytest.approx(expected, abs=tolerance)


def test_measures_agree_with_their_definitions():
    values = _draw_spectrum(4)
    plain = values.tolist()
    expected = {
        spectrum.measure_rankme_uncentred_sigma: reference.exp_entropy(plain, epsilon=1e-7),
        spectrum.measure_effective_rank_centred_lambda: reference.exp_entropy(plain),
        spectrum.measure_von_neumann_entropy_centred_lambda: math.log(reference.exp_entropy(plain)),
        spectrum.measure_participation_ratio_centred_lambda: reference.participation_ratio(plain),
        spectrum.measure_stable_rank_uncentred_sigma: sum(v**2 for v in plain) / max(plain) ** 2,
        spectrum.measure_nesum_centred_lambda: sum(plain) / max(plain),
        spectrum.measure_condition_number_sigma: max(plain) / min(plain),
    }
    for measure, value in expected.items():
        assert measure(values) == pytest.approx(value, rel=1e-12), measure.__name__


@pytest.mark.parametrize("measure", MEASURES_OF_ONE_SPECTRUM)
@pytest.mark.parametrize("scale", [1e-200, 1e-3, 1e3, 1e200])
def test_measures_are_blind_to_scale_and_order(measure, scale):
    values = _draw_spectrum(5)
    assert measure(values.flip(0) * scale) == pytest.approx(measure(values), rel=1e-12)


@pytest.mark.parametrize("measure", MEASURES_OF_ONE_SPECTRUM)
@pytest.mark.parametrize(
    ("values", "message"),
    [
        (torch.zeros(3), "all-zero spectrum is undefined"),
        (torch.empty(0), "non-empty vector"),
        (torch.ones(2, 2), "non-empty vector"),
        (torch.tensor([1.0, -0.1]), "finite and not negative"),
        (torch.tensor([1.0, torch.nan]), "finite and not negative"),
    ],
)
def test_an_undefined_spectrum_is_refused(measure, values, message):
    with pytest.raises(ValueError, match=message):
        measure(values)


def test_one_direction_has_dimension_one_and_equal_directions_all():
    one, equal = torch.tensor([2.0, 0.0, 0.0]), torch.full((6,), 0.3)
    for measure in (
        spectrum.measure_effective_rank_centred_lambda,
        spectrum.measure_participation_ratio_centred_lambda,
        spectrum.measure_nesum_centred_lambda,
        spectrum.measure_stable_rank_uncentred_sigma,
    ):
        assert measure(one) == 1.0
        assert measure(equal) == pytest.approx(6.0, rel=1e-12)
    assert spectrum.measure_condition_number_sigma(one) == math.inf


def test_power_law_is_recovered_exactly():
    index = torch.arange(1, 121, dtype=torch.float64)
    law = spectrum.fit_power_law_centred_lambda(7.0 * index**-1.3)
    assert law.alpha == pytest.approx(1.3, rel=1e-12)
    assert law.r2 == pytest.approx(1.0, abs=1e-12)


def test_power_law_of_a_flat_spectrum_explains_nothing():
    law = spectrum.fit_power_law_centred_lambda(torch.ones(20), first=3, last=12)
    assert law.alpha == 0.0
    assert math.isnan(law.r2)


def test_power_law_agrees_with_normal_equations():
    values = _draw_spectrum(6, n=40).sort(descending=True).values
    law = spectrum.fit_power_law_centred_lambda(values, first=4, last=33)
    assert tuple(law) == pytest.approx(reference.power_law(values.tolist(), 4, 33), rel=1e-10)


def test_gaussian_samples_give_the_published_exponent_and_rank():
    # Values of two public implementations for this matrix, seed included.
    torch.manual_seed(0)
    x = torch.randn(1000, 1024).double()
    x = x - x.mean(dim=0)
    eigenvalues = spectrum.compute_eigenvalues(x.T @ x / 1000)
    assert spectrum.fit_power_law_centred_lambda(eigenvalues).alpha == pytest.approx(0.148936, abs=2e-6)
    assert spectrum.measure_rankme_uncentred_sigma(eigenvalues) == pytest.approx(613.4726, abs=0.1)


@pytest.mark.parametrize(("first", "last"), [(0, 5), (5, 5), (11, 100)])
def test_a_power_law_window_outside_the_spectrum_is_refused(first, last):
    with pytest.raises(ValueError, match=f"within 1 to 12, got {first} to {last}"):
        spectrum.fit_power_law_centred_lambda(_draw_spectrum(), first=first, last=last)


def test_a_power_law_through_zero_is_refused():
    with pytest.raises(ValueError, match="above zero"):
        spectrum.fit_power_law_centred_lambda(torch.tensor([3.0, 2.0, 1.0, 0.0]), first=1, last=4)


def test_numerical_rank_counts_directions_above_rounding():
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(40, 3, generator=generator) @ torch.randn(3, 20, generator=generator)
    sigma = torch.linalg.svdvals(x)
    precision = torch.finfo(torch.float32).eps
    assert spectrum.measure_numerical_rank_sigma(sigma, shape=(40, 20), precision=precision) == 3
    assert spectrum.measure_numerical_rank_sigma(torch.zeros(3), shape=(40, 3), precision=precision) == 0
    near = torch.tensor([1.0, 5e-6, 4.5e-6])  # the limit of 40 rows or features is 4.8e-6
    for shape in ((40, 20), (20, 40)):
        assert spectrum.measure_numerical_rank_sigma(near, shape=shape, precision=precision) == 2


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: spectrum.compute_eigenvalues(torch.zeros(2, 3)), "must be square"),
        (lambda: spectrum.compute_eigenvalues(torch.full((2, 2), torch.nan)), "must be finite"),
        (lambda: spectrum.compute_eigenvalues(-torch.eye(2)), "must not be negative, got -1"),
        (lambda: spectrum.measure_intrinsic_dimension(torch.ones(2), delta=0.0), "got 0.0"),
        (lambda: spectrum.measure_intrinsic_dimension(torch.ones(2), delta=1.1), "got 1.1"),
        (lambda: spectrum.measure_intrinsic_dimension(torch.ones(2), rule="first"), "known: reach, delve"),
        (lambda: spectrum.measure_rankme_uncentred_sigma(torch.ones(2), epsilon=-1.0), "got -1.0"),
    ],
)
def test_misuse_is_refused(act, message):
    with pytest.raises(ValueError, match=message):
        act()


def test_rounding_below_zero_becomes_zero():
    direction = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64) / 7.0
    eigenvalues = spectrum.compute_eigenvalues(torch.outer(direction, direction))
    assert (eigenvalues >= 0.0).all()
    assert eigenvalues[0] == pytest.approx(14.0 / 49.0, rel=1e-12)


@pytest.mark.parametrize(("limit", "options"), [(1e-10, {}), (1e-5, {"rounding": spectrum.FLOAT32_NEGATIVE})])
def test_how_far_below_zero_is_rounding_depends_on_the_precision(limit, options):
    for scale in (1e-8, 1.0, 1e8):
        small, large = (
            torch.diag(scale * torch.tensor([1.0, -x], dtype=torch.float64))
            for x in (0.9 * limit, 1.1 * limit)
        )
        assert spectrum.compute_eigenvalues(small, **options).tolist() == [scale, 0]
        with pytest.raises(ValueError, match="must not be negative"):
            spectrum.compute_eigenvalues(large, **options)


def test_a_power_law_needs_nothing_behind_its_window():
    law = spectrum.fit_power_law_centred_lambda(torch.tensor([1.0, 1 / 2, 1 / 3, 0.0]), first=1, last=3)
    assert law.alpha == pytest.approx(1, rel=1e-6)
