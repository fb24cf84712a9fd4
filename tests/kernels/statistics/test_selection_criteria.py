"""Criteria against performance: every resample as scipy computes it, and the rule of choice."""

import numpy as np
import pytest
import scipy.stats
import torch

from rep_kedro.kernels.statistics.resampling import draw_bootstrap_counts
from rep_kedro.kernels.statistics.selection_criteria import (
    COEFFICIENTS,
    choose_by_criterion,
    correlate_criterion,
    resample_regret,
    spread_of_replicates,
)

N_RESAMPLES = 60


def _counts(n_runs, n_resamples=N_RESAMPLES):
    generator = torch.Generator().manual_seed(1)
    return draw_bootstrap_counts(torch.zeros(n_runs, dtype=torch.int64), n_resamples, generator=generator)


def _draw(n_runs, seed=0):
    rng = np.random.default_rng(seed)
    criterion = np.round(rng.lognormal(3, 1, n_runs), 1)
    return criterion, np.round(np.log(criterion) + rng.normal(0, 1, n_runs), 1)  # with ties


@pytest.mark.parametrize("n_runs", [4, 9, 25])
def test_values_and_intervals_are_those_of_scipy_on_each_resample(n_runs):
    x, y = _draw(n_runs)
    counts = _counts(n_runs)
    found = correlate_criterion(torch.tensor(x), torch.tensor(y), counts)
    tests = dict(
        zip(
            COEFFICIENTS,
            (scipy.stats.pearsonr,) * 2 + (scipy.stats.spearmanr, scipy.stats.kendalltau),
            strict=True,
        )
    )
    for name, test in tests.items():
        values = np.log2(x) if name == "pearson_log2" else x
        assert found[name].value == pytest.approx(test(values, y).statistic)
        assert found[name].p_value == pytest.approx(test(values, y).pvalue)
        each = []
        for row in counts.numpy():
            a, b = np.repeat(values, row), np.repeat(y, row)
            if len(set(a)) > 1 and len(set(b)) > 1:
                each.append(test(a, b).statistic)
        low, high = np.quantile(each, [0.025, 0.975])
        assert (found[name].low, found[name].high) == pytest.approx((low, high), abs=1e-12), name


def test_large_and_badly_scaled_values_change_no_coefficient():
    x, y = _draw(12)
    plain = correlate_criterion(torch.tensor(x), torch.tensor(y), _counts(12))
    scaled = correlate_criterion(torch.tensor(x * 1e30), torch.tensor(y * 1e-30 + 1e-29), _counts(12))
    for name in COEFFICIENTS:
        assert scaled[name].value == pytest.approx(plain[name].value, abs=1e-9)
        assert scaled[name].low == pytest.approx(plain[name].low, abs=1e-6)


def test_what_is_undefined_is_nan():
    y = torch.tensor([1.0, 2.0, 3.0, 5.0])
    assert all(np.isnan(each.value) for each in correlate_criterion(torch.ones(4), y, _counts(4)).values())
    assert np.isnan(correlate_criterion(y[:2], y[:2], _counts(2))["pearson"].value)
    found = correlate_criterion(torch.tensor([-1.0, 2.0, 3.0, 4.0]), y, _counts(4))
    assert np.isnan(found["pearson_log2"].value)
    assert found["spearman"].value == pytest.approx(1)


def test_the_first_run_of_the_plateau_is_taken_and_regret_follows_the_drawn_runs():
    criterion, performance = torch.tensor([5.0, 9.9, 10.0, 9.8]), torch.tensor([0.9, 0.2, 0.5, 0.4])
    order = torch.tensor([0.0, 3.0, 2.0, 1.0])
    assert choose_by_criterion(criterion, performance, order).chosen == 2
    choice = choose_by_criterion(criterion, performance, order, tolerance=0.05)
    assert (choice.chosen, choice.best, choice.n_plateau) == (3, 0, 3)
    assert choice.regret == pytest.approx(0.5)
    counts = _counts(4)
    found = resample_regret(criterion, performance, order, counts, tolerance=0.05)
    for row, regret in zip(counts.tolist(), found.tolist(), strict=True):
        drawn = [run for run, n in enumerate(row) if n]
        rows = torch.tensor(drawn)
        expected = choose_by_criterion(criterion[rows], performance[rows], order[rows], tolerance=0.05)
        assert regret == pytest.approx(expected.regret, abs=1e-7)


def test_the_spread_is_pooled_over_settings_with_several_runs():
    values = torch.tensor([1.0, 3.0, 10.0, 20.0, 26.0, 20.0])
    settings = torch.tensor([0, 0, 1, 2, 2, 2])
    spread, n_runs = spread_of_replicates(values, settings)
    assert n_runs == 5
    assert spread == pytest.approx(((2 * 1.0 + 24.0) / 3) ** 0.5)
    assert np.isnan(spread_of_replicates(values, torch.arange(6))[0])
