"""Criteria against performance: every resample as scipy computes it, and the rule of choice."""

import numpy as np
import pytest
import scipy.stats
import torch

from rep_kedro.kernels.statistics import selection_criteria
from rep_kedro.kernels.statistics.resampling import draw_bootstrap_counts
from rep_kedro.kernels.statistics.selection_criteria import (
    COEFFICIENTS,
    choose_by_criteria,
    correlate_criteria,
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


def _correlate(x, y, counts):
    return correlate_criteria(torch.tensor(x)[None], torch.tensor(y), counts)


@pytest.mark.parametrize("n_runs", [4, 9, 25])
def test_values_and_intervals_are_those_of_scipy_on_each_resample(n_runs):
    x, y = _draw(n_runs)
    counts = _counts(n_runs)
    found = _correlate(x, y, counts)
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


def test_criteria_together_are_criteria_alone(monkeypatch):
    x = torch.tensor(np.stack([_draw(9, seed)[0] for seed in range(5)]))
    x[1], x[3, 0] = 2.0, -1.0  # constant, without a logarithm
    y, counts = torch.tensor(_draw(9)[1]), _counts(9)
    monkeypatch.setattr(selection_criteria, "_ENTRIES_PER_BLOCK", 2 * counts.numel())
    together = correlate_criteria(x, y, counts)
    choices = choose_by_criteria(x, y, torch.arange(9), tolerance=0.1)
    regrets = resample_regret(x, y, torch.arange(9), counts, tolerance=0.1)
    spreads, _ = spread_of_replicates(x, torch.arange(9) // 2)
    for row in range(5):
        alone = correlate_criteria(x[row : row + 1], y, counts)
        for name in COEFFICIENTS:
            for part in ("value", "p_value", "low", "high"):
                found, expected = (getattr(each[name], part) for each in (together, alone))
                assert float(found[row]) == pytest.approx(float(expected), abs=1e-14, nan_ok=True)
        chosen = choose_by_criteria(x[row : row + 1], y, torch.arange(9), tolerance=0.1)
        assert int(choices.chosen[row]) == int(chosen.chosen)
        expected = resample_regret(x[row : row + 1], y, torch.arange(9), counts, tolerance=0.1)
        assert regrets[row].equal(expected[0])
        assert float(spreads[row]) == pytest.approx(
            float(spread_of_replicates(x[row], torch.arange(9) // 2)[0])
        )


def test_large_and_badly_scaled_values_change_no_coefficient():
    x, y = _draw(12)
    plain = _correlate(x, y, _counts(12))
    scaled = _correlate(x * 1e30, y * 1e-30 + 1e-29, _counts(12))
    for name in COEFFICIENTS:
        assert scaled[name].value == pytest.approx(plain[name].value, abs=1e-9)
        assert scaled[name].low == pytest.approx(plain[name].low, abs=1e-6)


def test_what_is_undefined_is_nan():
    y = torch.tensor([1.0, 2.0, 3.0, 5.0])
    assert all(
        each.value.isnan().all() for each in correlate_criteria(torch.ones(1, 4), y, _counts(4)).values()
    )
    assert correlate_criteria(y[None, :2], y[:2], _counts(2))["pearson"].value.isnan().all()
    found = correlate_criteria(torch.tensor([[-1.0, 2.0, 3.0, 4.0]]), y, _counts(4))
    assert found["pearson_log2"].value.isnan().all()
    assert found["spearman"].value == pytest.approx(1)


def test_resamples_in_which_only_the_performance_is_constant_are_left_out():
    x, y = torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([0.1, 0.1, 0.5])
    whole = [1, 1, 1]
    found = correlate_criteria(x, y, torch.tensor([whole, [2, 1, 0], [1, 2, 0], whole]))
    for name in COEFFICIENTS:
        value = float(found[name].value)
        assert (float(found[name].low), float(found[name].high)) == pytest.approx((value, value)), name


def test_the_first_run_of_the_plateau_is_taken_and_regret_follows_the_drawn_runs():
    criterion, performance = torch.tensor([5.0, 9.9, 10.0, 9.8]), torch.tensor([0.9, 0.2, 0.5, 0.4])
    order = torch.tensor([0.0, 3.0, 2.0, 1.0])
    assert choose_by_criteria(criterion[None], performance, order).chosen.tolist() == [2]
    choice = choose_by_criteria(criterion[None], performance, order, tolerance=0.05)
    assert (int(choice.chosen), int(choice.best), int(choice.n_plateau)) == (3, 0, 3)
    assert float(choice.regret) == pytest.approx(0.5)
    counts = _counts(4)
    found = resample_regret(criterion[None], performance, order, counts, tolerance=0.05)[0]
    for row, regret in zip(counts.tolist(), found.tolist(), strict=True):
        drawn = [run for run, n in enumerate(row) if n]
        rows = torch.tensor(drawn)
        expected = choose_by_criteria(criterion[None, rows], performance[rows], order[rows], tolerance=0.05)
        assert regret == pytest.approx(float(expected.regret), abs=1e-7)


def test_the_spread_is_pooled_over_settings_with_several_runs():
    values = torch.tensor([1.0, 3.0, 10.0, 20.0, 26.0, 20.0])
    settings = torch.tensor([0, 0, 1, 2, 2, 2])
    spread, n_runs = spread_of_replicates(values, settings)
    assert n_runs == 5
    assert float(spread) == pytest.approx(((2 * 1.0 + 24.0) / 3) ** 0.5)
    assert spread_of_replicates(values, torch.arange(6))[0].isnan()
