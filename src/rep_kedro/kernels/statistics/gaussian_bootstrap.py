"""Bootstrap over stimuli of CKA with a Gaussian kernel whose width follows the distances.

A width in units of the median distance is part of the estimate: another draw of stimuli has another median. A
width held fixed leaves out that part of the spread, and intervals are too narrow.
"""

import torch
from torch import Tensor

from rep_kedro.kernels.statistics.stimulus_bootstrap import require_counts, resample_cka


def resample_gaussian_cka(
    squared_distances: Tensor, counts: Tensor, *, width: float, debiased: bool = True
) -> Tensor:
    """Return CKA with Gaussian kernels in each resample, with the median distance of that resample as unit.

    Args:
        squared_distances: Symmetric, zero on the diagonal, one matrix per model, shape (n_models, n_stimuli,
            n_stimuli); NaN for a model that does not distinguish stimuli.
        counts: How often each stimulus is in each resample, shape (n_resamples, n_stimuli).
        width: Width of the kernel as a multiple of the median distance of two draws of different stimuli.
        debiased: Leave out the diagonal (unbiased HSIC).

    Returns:
        CKA, float64, shape (n_resamples, n_models, n_models), symmetric; NaN as for ``resample_cka``, and
        for a model with a median distance of zero.

    Raises:
        ValueError: If shapes do not fit, a count is negative, or the width is not positive.

    Cost: n_resamples * n_models * (n_models + 20) * n_stimuli^2 / 2 operations.

    Source: Kornblith et al. 2019, arXiv:1905.00414, section 3 (median as unit); Nili et al. 2014, PLoS Comput
        Biol 10:e1003553 (missing pairs of copies).
    """
    if not width > 0:
        raise ValueError(f"width of a Gaussian kernel must be positive, got {width}")
    n_models, n = squared_distances.shape[:2]
    weights = require_counts(counts, n).to(squared_distances.device)
    squared = squared_distances.double()
    first, second = torch.triu_indices(n, n, offset=1, device=squared.device)
    ordered, order = squared[:, first, second].sort(dim=1)
    found = []
    for drawn in weights:
        medians = _median_of_repeated(ordered, (drawn[first] * drawn[second])[order])
        present = drawn.nonzero().flatten()
        grams = _apply_kernel(squared[:, present[:, None], present], medians, width)
        found.append(resample_cka(grams, drawn[None, present], debiased=debiased))
    return torch.cat(found) if found else squared.new_empty(0, n_models, n_models)


def build_median_grams(squared_distances: Tensor, *, width: float) -> Tensor:
    """Return Gaussian kernel matrices, less one, with the median distance of each model as unit.

    Args:
        squared_distances: As for ``resample_gaussian_cka``.
        width: Width of the kernel as a multiple of the median distance.

    Returns:
        float64, the same shape; NaN for a model with a median distance of zero.
    """
    n = squared_distances.shape[1]
    first, second = torch.triu_indices(n, n, offset=1, device=squared_distances.device)
    squared = squared_distances.double()
    ordered = squared[:, first, second].sort(dim=1).values
    return _apply_kernel(squared, _median_of_repeated(ordered, torch.ones_like(ordered)), width)


def _apply_kernel(squared: Tensor, medians: Tensor, width: float) -> Tensor:
    grams = (squared / (-2 * width**2 * medians)[:, None, None]).expm1_()
    return torch.where((medians > 0)[:, None, None], grams, torch.nan)


def _median_of_repeated(ordered: Tensor, repeats: Tensor) -> Tensor:
    """Return medians of rows of ascending numbers that are there several times; NaN where none is.

    Args:
        ordered: Ascending, shape (n_rows, n_numbers).
        repeats: Whole, not negative, of the same shape.
    """
    reached = repeats.cumsum(dim=1)
    total = reached[:, -1:]
    ranks = torch.cat([((total - 1) / 2).floor() + 1, (total / 2).floor() + 1], dim=1)
    places = torch.searchsorted(reached, ranks).clamp(max=ordered.shape[1] - 1)
    middle = ordered.gather(1, places).mean(dim=1)
    return torch.where(total[:, 0] > 0, middle, torch.nan)
