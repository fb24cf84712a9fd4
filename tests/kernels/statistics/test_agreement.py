"""Measure against measure: correlations and their intervals against written-out samples."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from tests.kernels.random_numbers import seeded
from tests.reference import agreement as reference

from rep_kedro.kernels.statistics.agreement import (
    compare_mean_similarities,
    compare_values_of_set_pairs,
    correlate_weighted,
)
from rep_kedro.kernels.statistics.resampling import draw_bootstrap_counts

N_MODELS, N_SETS, N_REPLICATES = 6, 4, 30


def _draw(seed=0):
    drawn = torch.randn(2, N_SETS, N_MODELS, N_MODELS, generator=seeded(seed), dtype=torch.float64)
    drawn[1] += drawn[0]
    return drawn + drawn.mT


def _counts():
    of_models = draw_bootstrap_counts(torch.zeros(N_MODELS), N_REPLICATES, generator=seeded(1))
    return of_models, draw_bootstrap_counts(torch.zeros(N_SETS), N_REPLICATES, generator=seeded(2))


@pytest.mark.parametrize("with_gap", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1e-180, 1e150])
def test_mean_similarities_agree_with_written_out_samples(with_gap, scale):
    first, second = _draw()
    if with_gap:
        second[2, 1, 4] = second[2, 4, 1] = torch.nan
    models, sets = _counts()
    found = compare_mean_similarities(
        first * scale, second, model_counts=models, set_counts=sets, confidence=0.8
    )
    pairs = [p for p in itertools.combinations(range(N_MODELS), 2) if not (with_gap and p == (1, 4))]
    means = [np.array([m[:, a, b].mean() for a, b in pairs]) for m in (first.numpy(), second.numpy())]
    assert found.n == len(pairs) == 15 - with_gap
    assert found.pearson == pytest.approx(pearsonr(*means).statistic, abs=1e-12)
    assert found.spearman == pytest.approx(spearmanr(*means).statistic, abs=1e-12)
    replicates = [
        reference.mean_similarities(first.numpy(), second.numpy(), m, s)
        for m, s in zip(models.tolist(), sets.tolist(), strict=True)
    ]
    assert [float(found.interval.low), float(found.interval.high)] == pytest.approx(
        list(np.nanquantile(replicates, [0.1, 0.9])), abs=1e-11
    )
    assert found.interval.n_defined == np.sum(~np.isnan(replicates))


def test_values_of_set_pairs_agree_with_written_out_samples():
    set_pairs = [*itertools.combinations(range(N_SETS), 2)] * 3
    drawn = torch.randn(2, len(set_pairs), generator=seeded(3), dtype=torch.float64)
    drawn[1] += drawn[0]
    drawn[0, 5] = torch.nan
    sets = _counts()[1]
    sets[0] = torch.tensor([4, 0, 0, 0])  # one set has no pairs
    found = compare_values_of_set_pairs(*drawn, torch.tensor(set_pairs).T, set_counts=sets, confidence=0.8)
    replicates = [reference.values_of_set_pairs(*drawn.tolist(), set_pairs, s) for s in sets.tolist()]
    kept = ~drawn[0].isnan()
    assert found.n == len(set_pairs) - 1
    assert found.pearson == pytest.approx(pearsonr(*drawn[:, kept]).statistic, abs=1e-12)
    assert [float(found.interval.low), float(found.interval.high)] == pytest.approx(
        list(np.nanquantile(replicates, [0.1, 0.9])), abs=1e-11
    )
    assert found.interval.n_defined == np.sum(~np.isnan(replicates)) < N_REPLICATES


def test_the_diagonal_is_never_used():
    first, second = _draw()
    models, sets = _counts()
    before = compare_mean_similarities(first, second, model_counts=models, set_counts=sets)
    first[:, range(N_MODELS), range(N_MODELS)] = torch.nan
    second[:, range(N_MODELS), range(N_MODELS)] = 1e9
    assert compare_mean_similarities(first, second, model_counts=models, set_counts=sets) == before


def test_measures_that_are_lines_of_each_other_agree_fully():
    first, _ = _draw()
    models, sets = _counts()
    found = compare_mean_similarities(first, 3 - 2 * first, model_counts=models, set_counts=sets)
    assert found.pearson == pytest.approx(-1)
    assert found.spearman == -1
    assert float(found.interval.high) == pytest.approx(-1)


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0], "the values of the first measure do not vary"),
        ([1.0, 2.0, 3.0], [0.1, 0.1, 0.1], "the values of the second measure do not vary"),
        ([1.0, 1.0, 1.0], [0.1, 0.1, 0.1], "the values of neither measure vary"),
        ([1.0, 2.0, math.nan], [1.0, 2.0, 3.0], "fewer than 3 values defined under both measures"),
        ([], [], "fewer than 3 values defined under both measures"),
    ],
)
def test_what_has_no_correlation_says_why(first, second, reason):
    set_pairs = torch.tensor([[0, 0, 1], [1, 2, 2]])[:, : len(first)]
    counts = torch.ones(5, 3, dtype=torch.int64)
    found = compare_values_of_set_pairs(
        torch.tensor(first), torch.tensor(second), set_pairs, set_counts=counts
    )
    assert found.reason == reason
    assert math.isnan(found.pearson)
    assert math.isnan(found.spearman)
    assert math.isnan(found.interval.low)


def test_without_replicates_there_is_no_interval():
    first, second = _draw()
    found = compare_mean_similarities(
        first, second, model_counts=torch.ones(0, N_MODELS), set_counts=torch.ones(0, N_SETS)
    )
    assert not math.isnan(found.pearson)
    assert found.reason == ""
    assert math.isnan(found.interval.low)


def test_three_networks_leave_no_interval():
    first, second = _draw()
    of_models = draw_bootstrap_counts(torch.zeros(3), N_REPLICATES, generator=seeded(1))
    of_sets = draw_bootstrap_counts(torch.zeros(N_SETS), N_REPLICATES, generator=seeded(2))
    first, second = first[:, :3, :3], second[:, :3, :3]
    found = compare_mean_similarities(first, second, model_counts=of_models, set_counts=of_sets)
    assert not math.isnan(found.pearson)
    assert math.isnan(found.interval.low)
    assert "every sample that has enough pairs is the given one" in found.reason


def test_weighted_correlation_is_that_of_repeated_entries():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 7, 9)) + 1e6
    weights = rng.integers(0, 4, size=(7, 9))
    found = correlate_weighted(*(torch.tensor(a) for a in (x, y, weights)))
    expected = [
        np.corrcoef(np.repeat(a, w), np.repeat(b, w))[0, 1] for a, b, w in zip(x, y, weights, strict=True)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_measures_on_other_sets_or_models_are_refused():
    first, second = _draw()
    with pytest.raises(ValueError, match=r"measures must have one shape, got \(4, 6, 6\) and \(3, 6, 6\)"):
        compare_mean_similarities(
            first, second[:3], model_counts=torch.ones(1, 6), set_counts=torch.ones(1, 4)
        )
    with pytest.raises(ValueError, match=r"measures must have one shape, got \(2,\) and \(3,\)"):
        compare_values_of_set_pairs(
            torch.ones(2), torch.ones(3), torch.zeros(2, 2, dtype=torch.int64), set_counts=torch.ones(1, 4)
        )
