"""CKA with a width that follows the resample's median distance, against the definition on repeated rows."""

import numpy as np
import pytest
import torch
from tests.reference import inference as reference

from rep_kedro.kernels.statistics.gaussian_bootstrap import resample_gaussian_cka
from rep_kedro.kernels.statistics.resampling import draw_bootstrap_counts
from rep_kedro.measures import compare_models

N_STIMULI = 14


def _draw(seed=0, n=N_STIMULI):
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    return [
        shared @ torch.randn(2, d, generator=generator, dtype=torch.float64)
        + 0.5 * torch.randn(n, d, generator=generator, dtype=torch.float64)
        for d in (3, 5)
    ]


def _squared_distances(representations):
    return torch.stack([(x[:, None] - x[None]).square().sum(dim=2) for x in representations])


def _draw_counts(n_resamples=6, n=N_STIMULI, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return draw_bootstrap_counts(torch.zeros(n, dtype=torch.int64), n_resamples, generator=generator)


@pytest.mark.parametrize("debiased", [True, False])
@pytest.mark.parametrize("width", [0.4, 1.5])
def test_resamples_are_those_of_the_definition(debiased, width):
    representations, counts = _draw(), _draw_counts()
    found = resample_gaussian_cka(_squared_distances(representations), counts, width=width, debiased=debiased)
    for drawn, matrix in zip(counts, found, strict=True):
        x, y = (z.tolist() for z in representations)
        expected = reference.resampled_gaussian_cka(x, y, drawn.tolist(), width, debiased)
        assert matrix[0, 1].item() == pytest.approx(expected, abs=1e-10)
        assert torch.equal(matrix, matrix.T)


@pytest.mark.parametrize("estimator", ["debiased", "biased"])
def test_every_stimulus_once_gives_the_measure_itself(estimator):
    representations = _draw()
    found = resample_gaussian_cka(
        _squared_distances(representations),
        torch.ones(1, N_STIMULI, dtype=torch.int64),
        width=0.4,
        debiased=estimator == "debiased",
    )
    name = f"cka_rbf_median_0.4_{estimator}"
    [(_, measured)] = compare_models(representations, [name], memory_bytes=10**7)
    np.testing.assert_allclose(found[0], measured.values, atol=1e-9)


def test_the_unit_of_length_does_not_matter():
    squared, counts = _squared_distances(_draw()), _draw_counts()
    one = resample_gaussian_cka(squared, counts, width=0.4)
    for factor in (1e-12, 1e12):
        torch.testing.assert_close(resample_gaussian_cka(factor * squared, counts, width=0.4), one)


def test_networks_without_a_median_distance_are_not_a_number():
    squared = _squared_distances(_draw())
    mostly_equal = torch.zeros_like(squared[0])
    mostly_equal[0, 1:] = mostly_equal[1:, 0] = 1.0
    flawed = torch.full_like(squared[0], torch.nan)
    found = resample_gaussian_cka(
        torch.stack([squared[0], mostly_equal, flawed, squared[1]]), _draw_counts(), width=0.4
    )
    assert found[:, 1:3].isnan().all()
    torch.testing.assert_close(
        found[:, 0, 3], resample_gaussian_cka(squared, _draw_counts(), width=0.4)[:, 0, 1]
    )


def test_resamples_of_too_few_stimuli_are_not_a_number():
    counts = torch.zeros(2, N_STIMULI, dtype=torch.int64)
    counts[0, :3], counts[1, 0] = torch.tensor([4, 5, 5]), N_STIMULI
    assert resample_gaussian_cka(_squared_distances(_draw()), counts, width=0.4)[:, 0, 1].isnan().all()


def test_bad_widths_and_counts_are_refused():
    squared = _squared_distances(_draw())
    with pytest.raises(ValueError, match="width of a Gaussian kernel must be positive, got 0"):
        resample_gaussian_cka(squared, _draw_counts(), width=0)
    with pytest.raises(ValueError, match=r"counts must have shape \(n_resamples, 14\)"):
        resample_gaussian_cka(squared, _draw_counts(n=5), width=0.4)
    with pytest.raises(ValueError, match="counts must not be negative, got -1"):
        resample_gaussian_cka(squared, -torch.ones(1, N_STIMULI, dtype=torch.int64), width=0.4)
