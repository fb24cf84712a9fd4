"""Resampling of stimuli, jackknife and noise ceiling."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from tests.kernels.random_numbers import seeded
from tests.reference import inference as reference

from rep_kedro.kernels.statistics.centring import build_linear_grams, centre_grams
from rep_kedro.kernels.statistics.jackknife import jackknife_linear_cka
from rep_kedro.kernels.statistics.noise_ceiling import estimate_noise_ceiling
from rep_kedro.kernels.statistics.resampling import (
    draw_bootstrap_counts,
    draw_permutations,
    summarise_replicates,
)
from rep_kedro.kernels.statistics.sample_size import trace_by_sample_size
from rep_kedro.kernels.statistics.stimulus_bootstrap import resample_cka, resample_rsa

N_STIMULI = 12


def _draw_representations(generator, n_stimuli=N_STIMULI, widths=(3, 5, 20), shared=0.7):
    common = torch.randn(n_stimuli, 2, generator=generator, dtype=torch.float64)
    return [
        torch.randn(n_stimuli, d, generator=generator, dtype=torch.float64)
        + shared * common.repeat(1, d)[:, :d]
        for d in widths
    ]


def _bootstrap_counts(n_replicates, generator, n_stimuli=N_STIMULI):
    return draw_bootstrap_counts(torch.zeros(n_stimuli), n_replicates, generator=generator)


@pytest.mark.parametrize("debiased", [True, False])
def test_cka_of_resamples_agrees_with_missing_pairs_of_copies(debiased):
    xs = _draw_representations(seeded())
    subset = (torch.arange(N_STIMULI) < 7).long()
    counts = torch.cat([_bootstrap_counts(15, seeded(1)), subset[None], subset.flip(0)[None]])
    found = resample_cka(torch.stack([x @ x.T for x in xs]), counts, debiased=debiased)
    assert torch.equal(found, found.mT)
    for values, count in zip(found, counts.tolist(), strict=True):
        for a, b in [(0, 1), (1, 2), (2, 2)]:
            grams = [(xs[m] @ xs[m].T).numpy() for m in (a, b)]
            expected = reference.resampled_cka(*grams, count, debiased)
            assert values[a, b].item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("debiased", [True, False])
def test_every_stimulus_once_gives_cka_itself(debiased):
    grams = build_linear_grams(_draw_representations(seeded()))
    found = resample_cka(grams, torch.ones(1, N_STIMULI), debiased=debiased)[0]
    for a in range(3):
        for b in range(3):
            expected = reference.cka(grams[a].numpy(), grams[b].numpy(), debiased)
            assert found[a, b].item() == pytest.approx(expected, abs=1e-13)


@pytest.mark.parametrize("coefficient", ["pearson", "spearman"])
def test_rsa_of_resamples_agrees_with_missing_pairs_of_copies(coefficient):
    distances = torch.stack([torch.cdist(x, x) for x in _draw_representations(seeded())]).round(decimals=1)
    counts = _bootstrap_counts(10, seeded(1))
    found = resample_rsa(distances, counts, coefficient=coefficient)
    for values, count in zip(found, counts.tolist(), strict=True):
        expected = reference.resampled_rsa(distances[0].numpy(), distances[2].numpy(), count, coefficient)
        assert values[0, 2].item() == values[2, 0].item() == pytest.approx(expected, abs=1e-12)


def test_copies_do_not_make_unrelated_models_similar():
    """A bootstrap that met its own copies would add the biased estimator's offset to each replicate."""
    generator, means = seeded(3), []
    for _ in range(60):
        grams = build_linear_grams(_draw_representations(generator, n_stimuli=20, widths=(30, 30), shared=0))
        means.append(resample_cka(grams, _bootstrap_counts(40, generator, 20))[:, 0, 1].mean().item())
    assert abs(np.mean(means)) < 3 * np.std(means) / math.sqrt(60)
    assert np.std(means) / math.sqrt(60) < 0.01


def test_debiased_intervals_cover_and_the_jackknife_gives_the_same_error():
    """Truth: features share a signal; CKA of a very large sample stands for the truth."""
    generator, n, n_trials = seeded(4), 40, 120
    true = jackknife_linear_cka(_draw_representations(generator, 4000, (4, 4), 1.5)).estimate[0, 1].item()
    covered, estimates, errors = 0, [], {"bootstrap": [], "jackknife": []}
    for _ in range(n_trials):
        xs = _draw_representations(generator, n, (4, 4), 1.5)
        grams, jackknife = build_linear_grams(xs), jackknife_linear_cka(xs)
        replicates = resample_cka(grams, _bootstrap_counts(200, generator, n))
        interval = summarise_replicates(replicates, jackknife.estimate)
        covered += interval.low[0, 1].item() <= true <= interval.high[0, 1].item()
        estimates.append(jackknife.estimate[0, 1].item())
        errors["bootstrap"].append(interval.standard_error[0, 1].item())
        errors["jackknife"].append(jackknife.standard_error[0, 1].item())
    assert 0.87 <= covered / n_trials <= 0.995
    for values in errors.values():
        # the empirical standard deviation of 120 trials is itself uncertain by 6.5 %
        assert 0.8 < np.mean(values) / np.std(estimates, ddof=1) < 1.25


def test_jackknife_agrees_with_starting_afresh():
    xs = _draw_representations(seeded())
    for memory_bytes in (1, 20_000, 2**25):
        found = jackknife_linear_cka(xs, memory_bytes=memory_bytes)
        for a in range(3):
            for b in range(3):
                grams = [(xs[m] @ xs[m].T).numpy() for m in (a, b)]
                error = reference.jackknife_cka(*grams)
                assert found.standard_error[a, b].item() == pytest.approx(error, abs=1e-12)
                assert found.estimate[a, b].item() == pytest.approx(reference.cka(*grams), abs=1e-13)


@pytest.mark.parametrize("scale", [1e-100, 1e100])
def test_scale_does_not_matter(scale):
    xs = _draw_representations(seeded())
    before, after = (jackknife_linear_cka(x) for x in (xs, [scale * x for x in xs]))
    torch.testing.assert_close(before.standard_error, after.standard_error, rtol=1e-9, atol=1e-9)
    grams, counts = torch.stack([x @ x.T for x in xs]), _bootstrap_counts(3, seeded(1))
    before, after = (resample_cka(g, counts) for g in (grams, scale * grams))
    torch.testing.assert_close(before, after, rtol=0, atol=1e-12)


def test_a_large_shift_of_features_does_not_matter():
    xs, counts = _draw_representations(seeded()), _bootstrap_counts(3, seeded(1))
    for debiased in (True, False):
        before, after = (
            resample_cka(torch.stack([(x + c) @ (x + c).T for x in xs]), counts, debiased=debiased)
            for c in (0, 1e4)
        )
        torch.testing.assert_close(before, after, rtol=0, atol=1e-6)


def test_sample_size_curve_agrees_with_subsets_and_shows_the_bias():
    xs = _draw_representations(seeded(), 80, (20, 30), 0)
    grams, orders = build_linear_grams(xs), draw_permutations(80, 20, generator=seeded(1))
    sizes = [10, 30, 80]
    curves = {
        d: trace_by_sample_size(grams, orders, sizes, partial(centre_grams, debiased=d), least=4)
        for d in (True, False)
    }
    chosen = orders[4, :30]
    for debiased, curve in curves.items():
        assert curve.shape == (20, 3, 2, 2)
        subset = [g[chosen][:, chosen].numpy() for g in grams]
        assert curve[4, 1, 0, 1].item() == pytest.approx(reference.cka(*subset, debiased), abs=1e-12)
    biased, debiased = (curves[d][:, :, 0, 1].mean(dim=0).tolist() for d in (False, True))
    assert biased[0] > 0.6 > biased[1] > 0.4 > biased[2]
    assert np.abs(debiased).max() < 0.1


def test_undefined_resamples_and_models_are_nan():
    xs = _draw_representations(seeded())
    xs[1] = torch.full_like(xs[1], 0.1)
    grams = torch.stack([x @ x.T for x in xs])
    once, three_distinct, half = torch.ones(12), torch.zeros(12), torch.ones(12)
    three_distinct[:3] = 4
    half[0] = 11
    found = resample_cka(grams, torch.stack([once, three_distinct, half]))
    assert found[0, 1].isnan().all()
    assert not found[0, [0, 2]][:, [0, 2]].isnan().any()
    assert found[1:].isnan().all()
    assert not resample_cka(grams, three_distinct[None], debiased=False)[0, 0, 2].isnan()
    distances = torch.stack([torch.cdist(x, x) for x in xs])
    assert resample_rsa(distances, once[None])[0, 1].isnan().all()
    three_distinct[2] = 0
    assert resample_rsa(distances, three_distinct[None]).isnan().all()
    jackknife = jackknife_linear_cka(xs)
    assert jackknife.estimate[1].isnan().all()
    assert jackknife.standard_error[1].isnan().all()
    assert not jackknife.standard_error[0, 2].isnan()


def test_noise_ceiling_agrees_with_means_of_vectors():
    generator = seeded(6)
    truth = torch.randn(100, generator=generator, dtype=torch.float64)
    vectors = truth + torch.randn(5, 100, generator=generator, dtype=torch.float64)
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    groups = torch.tensor([[True] * 5, [True, False, True, True, False], [False] * 4 + [True]])
    found = estimate_noise_ceiling((unit @ unit.T).expand(2, -1, -1), groups)
    for index, group in enumerate(groups[:2]):
        lower, upper = reference.noise_ceiling(list(vectors[group].numpy()))
        assert found.lower[:, index].tolist() == pytest.approx([lower] * 2, abs=1e-12)
        assert found.upper[:, index].tolist() == pytest.approx([upper] * 2, abs=1e-12)
        with_truth = (unit[group] @ truth / truth.norm()).mean()
        assert lower < with_truth < upper
    assert found.lower[:, 2].isnan().all()
    assert found.upper[:, 2].isnan().all()
    assert found.n_repeats.tolist() == [5, 3, 1]


def test_impossible_requests_are_refused_with_what_is_wrong():
    xs = _draw_representations(seeded())
    grams = build_linear_grams(xs)
    with pytest.raises(ValueError, match=r"counts must have shape \(n_resamples, 12\), got \(2, 11\)"):
        resample_cka(grams, torch.ones(2, 11))
    with pytest.raises(ValueError, match="counts must not be negative, got -1"):
        resample_rsa(grams, -torch.ones(2, 12))
    with pytest.raises(ValueError, match="subset sizes must be 4 to 12 stimuli, got 3"):
        trace_by_sample_size(grams, torch.arange(12)[None], [6, 3], centre_grams, least=4)
    with pytest.raises(ValueError, match=r"orders must have shape \(n_orders, 12\), got \(12,\)"):
        trace_by_sample_size(grams, torch.arange(12), [6], centre_grams, least=4)
    with pytest.raises(ValueError, match="the jackknife of debiased CKA needs at least 5 stimuli, got 4"):
        jackknife_linear_cka([x[:4] for x in xs])
    for function in (jackknife_linear_cka, build_linear_grams):
        with pytest.raises(
            ValueError, match=r"representations must have the same stimuli, got row counts \[11, 12\]"
        ):
            function([xs[0], xs[1][:11]])
    with pytest.raises(ValueError, match=r"groups must be bool of shape \(n_groups, 3\) .* got torch.int64"):
        estimate_noise_ceiling(torch.eye(3), torch.ones(1, 3, dtype=torch.int64))
