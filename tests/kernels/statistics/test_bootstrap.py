"""Intervals for consistency over models and stimulus sets."""

import math

import numpy as np
import pytest
import torch
from tests.kernels.random_numbers import seeded
from tests.reference import inference as reference
from tests.reference.consistency import list_model_pairs

from rep_kedro.kernels.statistics import weighted_correlation
from rep_kedro.kernels.statistics.bootstrap import (
    bootstrap_consistency,
    bootstrap_median_consistency,
    replicate_median_consistency,
    weighted_median,
)
from rep_kedro.kernels.statistics.consistency import mask_model_pairs, pairwise_consistency
from rep_kedro.kernels.statistics.correlation import correlate_rows
from rep_kedro.kernels.statistics.resampling import (
    draw_bootstrap_counts,
    draw_permutations_within,
    summarise_replicates,
)
from rep_kedro.kernels.statistics.weighted_correlation import WeightedCorrelation

N_MODELS, N_SETS, N_REPLICATES = 8, 3, 40
STRATA = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])


def _draw_similarities(decimals=None):
    values = torch.randn(N_SETS, N_MODELS, N_MODELS, generator=seeded(), dtype=torch.float64)
    values = values + values.mT + 2 * values[:1] + 2 * values[:1].mT
    return values if decimals is None else values.round(decimals=decimals)


def _groups():
    everything, first = torch.ones(N_MODELS, dtype=torch.bool), STRATA == 0
    lists = [list_model_pairs(range(8), range(8)), list_model_pairs(range(4), range(4, 8))]
    return torch.stack([mask_model_pairs(everything, everything), mask_model_pairs(first, ~first)]), lists


@pytest.mark.parametrize("with_gaps", [False, True])
def test_replicates_agree_with_copied_models(with_gaps):
    similarities = _draw_similarities()
    if with_gaps:
        similarities[1, 2, 5] = similarities[1, 5, 2] = torch.nan
    masks, lists = _groups()
    counts = draw_bootstrap_counts(STRATA, N_REPLICATES, generator=seeded(1))
    for confidence in (0.5, 0.9):
        found = bootstrap_consistency(similarities, masks, counts, confidence=confidence)
        for group, pairs in enumerate(lists):
            expected = np.array(
                [
                    reference.replicate_consistency(*similarities[[0, 1]].numpy(), c, pairs, "pearson")
                    for c in counts.tolist()
                ]
            )
            assert found.n_defined[group, 0, 1] == np.sum(~np.isnan(expected))
            ends = np.nanquantile(expected, [(1 - confidence) / 2, (1 + confidence) / 2])
            assert [found.low[group, 0, 1], found.high[group, 0, 1]] == pytest.approx(list(ends), abs=1e-12)
            assert found.standard_error[group, 0, 1].item() == pytest.approx(
                np.nanstd(expected, ddof=1), abs=1e-12
            )
    direct = pairwise_consistency(similarities, masks).coefficients["pearson"]
    torch.testing.assert_close(found.estimate, direct, rtol=0, atol=0)
    assert torch.equal(found.low, found.low.mT)


@pytest.mark.parametrize("coefficient", ["pearson", "spearman"])
@pytest.mark.parametrize("decimals", [None, 0], ids=["no ties", "many ties"])
def test_weights_count_entries_several_times(coefficient, decimals, monkeypatch):
    rows = _draw_similarities(decimals).flatten(1)
    counts = torch.randint(0, 4, (N_REPLICATES, rows.shape[1]), generator=seeded(1))
    found = WeightedCorrelation(rows, coefficient).correlate(counts)
    for values, count in zip(found, counts, strict=True):
        copies = rows.repeat_interleave(count, dim=1)[None]
        direct = correlate_rows(copies, torch.ones_like(copies[:, 0]).bool(), coefficient=coefficient)
        torch.testing.assert_close(values, direct[0], rtol=0, atol=1e-12)
    monkeypatch.setattr(weighted_correlation, "ENTRIES", 1)
    in_blocks = WeightedCorrelation(rows, coefficient).correlate(counts)
    torch.testing.assert_close(in_blocks, found, rtol=0, atol=1e-14)


@pytest.mark.parametrize("outlier", [1e3, 1e8, 1e150])
def test_replicates_without_the_outlier_keep_their_digits(outlier):
    similarities, (masks, lists) = _draw_similarities(), _groups()
    similarities[1, 0, 1] = similarities[1, 1, 0] = outlier
    counts = draw_bootstrap_counts(STRATA, N_REPLICATES, generator=seeded(1))
    assert (counts[:, 0] == 0).any()
    found = bootstrap_consistency(similarities, masks, counts, confidence=0.5)
    expected = [
        reference.replicate_consistency(*similarities[[0, 1]].numpy(), c, lists[0], "pearson")
        for c in counts.tolist()
    ]
    assert found.low[0, 0, 1].item() == pytest.approx(np.nanquantile(expected, 0.25), abs=1e-10)
    assert found.standard_error[0, 0, 1].item() == pytest.approx(np.nanstd(expected, ddof=1), abs=1e-10)


def test_a_constant_stimulus_set_does_not_spoil_the_others():
    similarities, (masks, _) = _draw_similarities(), _groups()
    counts = draw_bootstrap_counts(STRATA, N_REPLICATES, generator=seeded(1))
    before = bootstrap_consistency(similarities, masks, counts)
    similarities[2] = 0.1
    after = bootstrap_consistency(similarities, masks, counts)
    assert after.low[:, 2].isnan().all()
    assert after.n_defined[:, 2].tolist() == [[0, 0, 0], [0, 0, 0]]
    torch.testing.assert_close(before.low[:, :2, :2], after.low[:, :2, :2], rtol=0, atol=1e-12)


@pytest.mark.parametrize("whole", [False, True], ids=["gaps in two sets", "gaps in one set"])
def test_sets_that_lack_different_pairs_are_each_correlated_over_what_both_have(whole):
    similarities, (masks, lists) = _draw_similarities(), _groups()
    if not whole:
        similarities[0, 0] = similarities[0, :, 0] = torch.nan
    similarities[1, 2, 5] = similarities[1, 5, 2] = torch.nan
    counts = draw_bootstrap_counts(STRATA, N_REPLICATES, generator=seeded(1))
    found = bootstrap_consistency(similarities, masks, counts)
    for group, pairs in enumerate(lists):
        for a, b in list_model_pairs(range(N_SETS), range(N_SETS)):
            expected = [
                reference.replicate_consistency(*similarities[[a, b]].numpy(), c, pairs, "pearson")
                for c in counts.tolist()
            ]
            assert found.low[group, a, b].item() == pytest.approx(np.nanquantile(expected, 0.025), abs=1e-12)
            assert found.n_defined[group, a, b] == np.sum(~np.isnan(expected))
    assert torch.equal(found.high, found.high.mT)


@pytest.mark.parametrize("diagonal", [1.0, 1e9, torch.nan])
def test_a_network_and_its_copy_are_no_pair_whatever_their_similarity(diagonal):
    similarities, (masks, _) = _draw_similarities(), _groups()
    counts = draw_bootstrap_counts(STRATA, N_REPLICATES, generator=seeded(1))
    before = bootstrap_consistency(similarities, masks, counts)
    similarities[:, range(N_MODELS), range(N_MODELS)] = diagonal
    after = bootstrap_consistency(similarities, masks, counts)
    assert torch.equal(before.low, after.low)
    assert torch.equal(before.high, after.high)


def test_replicates_of_two_groups_come_from_the_same_samples():
    similarities, (masks, _) = _draw_similarities(), _groups()
    counts = draw_bootstrap_counts(STRATA, N_REPLICATES, generator=seeded(1))
    set_counts = draw_bootstrap_counts(torch.zeros(N_SETS), N_REPLICATES, generator=seeded(2))
    options = {"model_counts": counts, "set_counts": set_counts}
    both, estimates = replicate_median_consistency(similarities, masks, **options)
    assert both.shape == (N_REPLICATES, 2)
    for group in range(2):
        alone, estimate = replicate_median_consistency(similarities, masks[[group]], **options)
        torch.testing.assert_close(both[:, [group]], alone, rtol=0, atol=1e-13, equal_nan=True)
        assert estimate == estimates[group]
    found = bootstrap_median_consistency(similarities, masks, **options)
    assert torch.equal(found.estimate, estimates)


def test_median_over_stimulus_sets_never_meets_a_copy():
    similarities, (masks, lists) = _draw_similarities(), _groups()
    model_counts = draw_bootstrap_counts(STRATA, N_REPLICATES, generator=seeded(1))
    set_counts = draw_bootstrap_counts(torch.zeros(N_SETS), N_REPLICATES, generator=seeded(2))
    found = bootstrap_median_consistency(
        similarities, masks, model_counts=model_counts, set_counts=set_counts
    )
    for group, pairs in enumerate(lists):
        medians = []
        for models, sets in zip(model_counts.tolist(), set_counts.tolist(), strict=True):
            drawn = reference.resampled_pairs(sets, list_model_pairs(range(N_SETS), range(N_SETS)))
            values = [
                reference.replicate_consistency(*similarities[[a, b]].numpy(), models, pairs, "pearson")
                for a, b in drawn
            ]
            medians.append(np.nanmedian(values) if not np.all(np.isnan(values)) else math.nan)
        assert found.n_defined[group] == np.sum(~np.isnan(medians)) < N_REPLICATES
        assert found.low[group].item() == pytest.approx(np.nanquantile(medians, 0.025), abs=1e-12)
        assert found.high[group].item() == pytest.approx(np.nanquantile(medians, 0.975), abs=1e-12)


def test_what_is_not_resampled_is_held_fixed():
    similarities, (masks, _) = _draw_similarities(), _groups()
    set_counts = torch.tensor([[1, 1, 1], [2, 1, 0]])
    found = bootstrap_median_consistency(similarities, masks, set_counts=set_counts, confidence=0.5)
    values = pairwise_consistency(similarities, masks).coefficients["pearson"]
    median = values[:, [0, 0, 1], [1, 2, 2]].median(dim=1).values
    assert torch.equal(found.estimate, median)
    torch.testing.assert_close(found.low + found.high, median + values[:, 0, 1], rtol=0, atol=1e-12)


def test_same_seed_same_interval_and_other_seed_another():
    masks, _ = _groups()
    lows = [
        bootstrap_consistency(
            _draw_similarities(), masks, draw_bootstrap_counts(STRATA, 50, generator=seeded(seed))
        ).low[0, 0, 1]
        for seed in (3, 3, 4)
    ]
    assert lows[0] == lows[1] != lows[2]


def _two_level_sample(generator, n_models, correlation_of_models=0.6, noise=0.5):
    """Model effects u on two stimulus sets correlate; similarity of a and b is u_a + u_b + noise."""
    u = torch.randn(2, n_models, generator=generator, dtype=torch.float64)
    u[1] = correlation_of_models * u[0] + math.sqrt(1 - correlation_of_models**2) * u[1]
    error = torch.randn(2, n_models, n_models, generator=generator, dtype=torch.float64).triu(1) * noise
    true = 2 * correlation_of_models / (2 + noise**2)
    return u[:, :, None] + u[:, None, :] + error + error.mT, true


def test_model_resampling_covers_the_truth_where_pair_counting_does_not():
    generator, n_models, n_trials = seeded(5), 24, 150
    mask = torch.ones(1, n_models, n_models, dtype=torch.bool)
    n_pairs, covered, naive_covered, wider = n_models * (n_models - 1) // 2, 0, 0, 0
    for _ in range(n_trials):
        similarities, true = _two_level_sample(generator, n_models)
        counts = draw_bootstrap_counts(torch.zeros(n_models), 300, generator=generator)
        found = bootstrap_consistency(similarities, mask, counts)
        low, high = found.low[0, 0, 1].item(), found.high[0, 0, 1].item()
        middle, half = math.atanh(found.estimate[0, 0, 1]), 1.96 / math.sqrt(n_pairs - 3)  # Fisher's z
        naive_low, naive_high = math.tanh(middle - half), math.tanh(middle + half)
        covered += low <= true <= high
        naive_covered += naive_low <= true <= naive_high
        wider += high - low > naive_high - naive_low
    assert wider == n_trials
    # binomial(150, 0.95) has standard deviation 1.8 %
    assert 0.89 <= covered / n_trials <= 0.995
    assert naive_covered / n_trials < 0.7


def test_intervals_of_known_replicates_are_known():
    replicates = torch.tensor([[1.0], [2.0], [torch.nan], [3.0], [4.0], [5.0]])
    estimate = torch.tensor([2.5])
    found = summarise_replicates(replicates, estimate, confidence=0.5)
    assert [found.low.item(), found.high.item()] == [2, 4]
    assert found.standard_error.item() == pytest.approx(math.sqrt(2.5), abs=1e-12)
    assert found.n_defined.item() == 5
    lonely = summarise_replicates(replicates[:1], estimate)
    assert lonely.low.isnan()
    assert lonely.standard_error.isnan()


def test_weighted_median_equals_the_median_of_copies():
    generator = seeded(7)
    values = torch.randn(200, 5, generator=generator, dtype=torch.float64)
    values[::7, 2] = torch.nan
    weights = torch.randint(0, 4, (200, 5), generator=generator)
    found = weighted_median(values, weights)
    for row, weight, median in zip(values.numpy(), weights.numpy(), found.tolist(), strict=True):
        copies = np.repeat(row, weight)
        copies = copies[~np.isnan(copies)]
        expected = np.median(copies) if len(copies) else math.nan
        assert median == pytest.approx(expected, abs=0, nan_ok=True)


def test_draws_stay_within_their_strata():
    counts = draw_bootstrap_counts(STRATA, 100, generator=seeded())
    assert counts[:, STRATA == 0].sum(dim=1).unique().tolist() == [4]
    assert counts.sum(dim=1).unique().tolist() == [8]
    assert counts.max() > 1
    permutations = draw_permutations_within(STRATA, 100, generator=seeded())
    assert torch.equal(permutations.sort(dim=1).values, torch.arange(8).expand(100, -1))
    assert torch.equal(STRATA[permutations], STRATA.expand(100, -1))
    assert len(permutations.unique(dim=0)) > 80


def test_impossible_requests_are_refused_with_what_is_wrong():
    similarities, (masks, _) = _draw_similarities(), _groups()
    counts = torch.ones(5, N_MODELS)
    with pytest.raises(ValueError, match=r"model counts must have shape \(n_replicates, 8\), got \(5, 7\)"):
        bootstrap_consistency(similarities, masks, counts[:, :7])
    with pytest.raises(ValueError, match="unknown weighted correlation coefficient"):
        WeightedCorrelation(similarities[0], "kendall")
    with pytest.raises(ValueError, match=r"confidence must be between 0 and 1, got 95"):
        bootstrap_consistency(similarities, masks, counts, confidence=95)
    with pytest.raises(ValueError, match="nothing to resample: give model counts, set counts, or both"):
        bootstrap_median_consistency(similarities, masks)
    with pytest.raises(
        ValueError, match=r"set counts must have shape \(5, 3\) for 5 replicates, got \(4, 3\)"
    ):
        bootstrap_median_consistency(similarities, masks, model_counts=counts, set_counts=torch.ones(4, 3))


def test_a_group_whose_replicates_are_mostly_undefined_has_no_interval():
    """Three models: only the draws of each once are defined, 6 of 27, and all of them equal the sample."""
    similarities = _draw_similarities()
    three = torch.tensor([True] * 3 + [False] * 5)
    four = torch.tensor([True] * 4 + [False] * 4)
    masks = torch.stack([mask_model_pairs(three, three), mask_model_pairs(four, four)])
    for strata, n_defined in ((torch.tensor([0] * 3 + [1] * 5), 6 / 27), (STRATA, 168 / 256)):
        counts = draw_bootstrap_counts(strata, 4000, generator=seeded())
        set_counts = torch.ones(4000, N_SETS, dtype=torch.int64)
        group = 0 if n_defined < 0.5 else 1
        found = bootstrap_consistency(similarities, masks, counts)
        medians = bootstrap_median_consistency(
            similarities, masks, model_counts=counts, set_counts=set_counts
        )
        assert found.n_defined[group, 0, 1].item() / 4000 == pytest.approx(n_defined, abs=0.03)
        for interval in (found.low[group, 0, 1], found.high[group, 0, 1], medians.low[group]):
            assert bool(interval.isnan()) == (n_defined < 0.5)
        assert not found.estimate[group, 0, 1].isnan()
