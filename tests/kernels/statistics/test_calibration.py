"""P-values, thresholds and corrections for many tests."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from tests.kernels.random_numbers import seeded
from tests.reference import inference as reference

from rep_kedro.kernels.statistics.calibration import (
    adjust_by_maximum,
    adjust_p_values,
    calibrate,
)


def test_known_null_gives_known_results():
    null = torch.arange(1.0, 20.0)[:, None] / 100  # 0.01 ... 0.19
    observed = torch.tensor([0.5], dtype=torch.float64)
    found = calibrate(observed, null, level=0.1)
    # ceil(0.9 * 20) = 18th of 20 values; the observed one is the 20th
    assert found.p_value.item() == 1 / 20
    assert found.threshold.item() == pytest.approx(0.18, abs=1e-7)
    assert found.calibrated.item() == pytest.approx((0.5 - 0.18) / 0.82, abs=1e-7)
    below = calibrate(torch.tensor([0.05], dtype=torch.float64), null.double(), level=0.1)
    assert below.p_value.item() == 16 / 20  # 0.05 itself is tied and counts
    assert below.calibrated.item() == 0


def test_ties_up_to_rounding_count_against_the_observed_value():
    null = torch.full((9,), 0.3 - 1e-16, dtype=torch.float64)
    assert calibrate(torch.tensor(0.3, dtype=torch.float64), null).p_value.item() == 1


def test_undefined_values_stay_undefined():
    null = torch.tensor([[0.1, 0.1], [torch.nan, 0.2]])
    found = calibrate(torch.tensor([0.5, torch.nan]), null)
    for values in (found.p_value, found.threshold, found.calibrated):
        assert values.isnan().all()


def test_largest_over_layers_keeps_the_level():
    """Twenty layers, each tested alone at 10 %, would be wrong nearly always."""
    generator, n_trials = seeded(2), 400
    together = torch.randn(n_trials, 40, 20, generator=generator, dtype=torch.float64)
    p_values = torch.stack([calibrate(top[0], top[1:], largest=10).p_value for top in together.amax(dim=-1)])
    assert abs((p_values <= 0.1).double().mean() - 0.1) < 3 * math.sqrt(0.09 / n_trials)
    alone = torch.stack([calibrate(trial[0], trial[1:], largest=10).p_value.amin() for trial in together])
    assert (alone <= 0.1).double().mean() > 0.8


@pytest.mark.parametrize("step_down", [False, True])
def test_maximum_adjustment_agrees_with_the_definition(step_down):
    null = torch.randn(50, 7, generator=seeded(), dtype=torch.float64)
    observed = torch.tensor([3.0, 0.5, 1.0, -1.0, 2.0, 1.0, 0.0], dtype=torch.float64)
    found = adjust_by_maximum(observed, null, step_down=step_down)
    expected = reference.max_statistic(observed.numpy(), null.numpy(), step_down)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-15)


def test_step_down_is_never_less_powerful_and_both_keep_the_family_level():
    generator, n_trials = seeded(3), 400
    trials = torch.randn(n_trials, 40, 10, generator=generator, dtype=torch.float64)
    single = torch.stack([adjust_by_maximum(t[0], t[1:]) for t in trials])
    stepped = torch.stack([adjust_by_maximum(t[0], t[1:], step_down=True) for t in trials])
    assert (stepped <= single).all()
    for p_values in (single, stepped):
        assert abs((p_values.amin(dim=1) <= 0.1).double().mean() - 0.1) < 3 * math.sqrt(0.09 / n_trials)


@pytest.mark.parametrize("method", ["holm", "benjamini-hochberg"])
def test_adjustments_agree_with_the_definition(method):
    definition = {"holm": reference.holm, "benjamini-hochberg": reference.benjamini_hochberg}[method]
    p_values = torch.rand(30, generator=seeded(), dtype=torch.float64) ** 3
    p_values[4] = p_values[9]
    found = adjust_p_values(p_values, method=method)
    np.testing.assert_allclose(found, definition(p_values.numpy()), rtol=0, atol=1e-15)
    if method == "benjamini-hochberg":
        np.testing.assert_allclose(found, stats.false_discovery_control(p_values.numpy()), rtol=0, atol=1e-15)


def test_hand_made_adjustments():
    p_values = torch.tensor([[0.01, torch.nan], [0.04, 0.03]], dtype=torch.float64)
    expected = {
        "holm": [0.03, 0.06, 0.06],
        "benjamini-hochberg": [0.03, 0.04, 0.04],
        "bonferroni": [0.03, 0.12, 0.09],
    }
    for method, values in expected.items():
        found = adjust_p_values(p_values, method=method)
        assert found[0, 1].isnan()
        assert found[~found.isnan()].tolist() == pytest.approx(values, abs=1e-15)
    assert adjust_p_values(torch.full((2,), torch.nan)).isnan().all()


def test_false_findings_stay_within_the_promised_rates():
    p_values = torch.rand(500, 20, generator=seeded(4), dtype=torch.float64)
    for method in ("holm", "bonferroni", "benjamini-hochberg"):
        any_found = torch.stack([adjust_p_values(p, method=method).amin() <= 0.1 for p in p_values])
        assert any_found.double().mean() < 0.1 + 3 * math.sqrt(0.09 / 500)


def test_impossible_requests_are_refused_with_what_is_wrong():
    values = torch.rand(3)
    with pytest.raises(ValueError, match=r"null must have shape \(n_permutations, \*\(3,\)\), got \(5, 4\)"):
        calibrate(values, torch.rand(5, 4))
    with pytest.raises(ValueError, match="level must be between 0 and 1, got 5"):
        calibrate(values, torch.rand(5, 3), level=5)
    with pytest.raises(ValueError, match="similarity 2 exceeds the largest possible value, given as 1"):
        calibrate(values, torch.rand(5, 3).index_fill(0, torch.tensor([3]), 2.0))
    with pytest.raises(
        ValueError, match="values with NaN cannot be adjusted by the maximum; leave those tests out"
    ):
        adjust_by_maximum(values * torch.nan, torch.rand(5, 3))
    with pytest.raises(
        ValueError, match="unknown adjustment 'bh'; known: benjamini-hochberg, bonferroni, holm"
    ):
        adjust_p_values(values, method="bh")
    with pytest.raises(ValueError, match=r"p-values must be in \[0, 1\], got -1 to 2"):
        adjust_p_values(torch.tensor([-1.0, 2.0]))
