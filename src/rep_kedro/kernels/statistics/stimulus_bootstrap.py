"""Variation of similarities with the choice of stimuli: bootstrap and subsets.

A resample is a vector of counts. A stimulus is never compared with its own copy: pairs of draws of one
stimulus are missing, so that counts[i] * counts[j] weighs the pair of stimuli i and j, and centring is over
what is present.
"""

import torch
from torch import Tensor

from rep_kedro.kernels.statistics.centring import MIN_STIMULI_DEBIASED, ROUNDING, scale_grams
from rep_kedro.kernels.statistics.weighted_correlation import WeightedCorrelation

MIN_STIMULI_BIASED = 2
PAIR_WEIGHTS = 2**24  # weights of pairs of stimuli in memory at once
MIN_STIMULI_RSA = 3  # two stimuli have one dissimilarity only


def resample_cka(grams: Tensor, counts: Tensor, *, debiased: bool = True) -> Tensor:
    """Return CKA of all model pairs in each resample of the stimuli.

    With w the counts, entries K_ij (i not j) weigh w_i w_j. Centring subtracts a_i + a_j such that the
    weighted sums of all rows vanish; with counts of one this is the usual (U-)centring. Unrelated models have
    expectation zero in every resample where debiased. The biased estimator keeps the product of each draw
    with itself, weight w_i.

    Args:
        grams: Symmetric kernel matrices, one per model, shape (n_models, n_stimuli, n_stimuli).
        counts: How often each stimulus is in each resample, shape (n_resamples, n_stimuli), from
            ``draw_bootstrap_counts``; 0 or 1 for subsets.
        debiased: Leave out the diagonal (unbiased HSIC).

    Returns:
        CKA, float64, shape (n_resamples, n_models, n_models), symmetric; NaN in resamples with fewer than
        four distinct stimuli (biased: two), or where one stimulus is half of the draws, and for models that
        do not distinguish the drawn stimuli.

    Raises:
        ValueError: If shapes do not fit, or a count is negative.

    Cost: n_models^2 / 2 products of (n_resamples, n_stimuli) with (n_stimuli, n_stimuli).

    Source: Missing pairs of copies as in Nili et al. 2014, PLoS Comput Biol 10:e1003553; centring with
        weights derived from Szekely & Rizzo 2014, Ann Stat 42:2382.
    """
    weights = require_counts(counts, grams.shape[1]).to(grams.device)
    grams = scale_grams(grams)
    energy = grams.square().sum(dim=(1, 2))
    grams = grams - grams.mean(dim=1, keepdim=True)  # changes nothing but rounding: the offsets absorb it
    grams = grams - grams.mean(dim=2, keepdim=True)
    selves = grams.diagonal(dim1=1, dim2=2).clone() * (not debiased)
    grams.diagonal(dim1=1, dim2=2).zero_()

    divisors = weights.sum(dim=1, keepdim=True) - 2 * weights + 2 * (not debiased)
    row_sums = weights @ grams + selves[:, None]  # (n_models, n_resamples, n_stimuli)
    total = (weights * row_sums / divisors).sum(dim=2) / (1 + (weights / divisors).sum(dim=1))
    offsets = (row_sums - total[:, :, None]) / divisors

    n_models = len(grams)
    hsic = torch.zeros(len(weights), n_models, n_models, dtype=torch.float64, device=grams.device)
    for a in range(n_models):
        for b in range(a, n_models):
            pairs = (weights @ (grams[a] * grams[b]) * weights).sum(dim=1) + weights @ (selves[a] * selves[b])
            hsic[:, a, b] = hsic[:, b, a] = pairs - 2 * (weights * offsets[b] * row_sums[a]).sum(dim=1)
    squares = hsic.diagonal(dim1=1, dim2=2)
    length = torch.where(squares > ROUNDING * energy, squares, torch.nan).sqrt()
    minimum = MIN_STIMULI_DEBIASED if debiased else MIN_STIMULI_BIASED
    undefined = ((weights > 0).sum(dim=1) < minimum) | ((divisors <= 0) & (weights > 0)).any(dim=1)
    return torch.where(undefined[:, None, None], torch.nan, hsic / (length[:, :, None] * length[:, None, :]))


def resample_rsa(dissimilarities: Tensor, counts: Tensor, *, coefficient: str = "pearson") -> Tensor:
    """Return RSA correlations of all model pairs in each resample of the stimuli.

    Args:
        dissimilarities: Symmetric matrices, one per model, shape (n_models, n_stimuli, n_stimuli); only what
            is above the diagonal is used.
        counts: How often each stimulus is in each resample, shape (n_resamples, n_stimuli).
        coefficient: "pearson" or "spearman" (ranks within the resample).

    Returns:
        Correlations, float64, shape (n_resamples, n_models, n_models), symmetric; NaN in resamples with fewer
        than three distinct stimuli, and for models whose dissimilarities do not vary.

    Raises:
        ValueError: If shapes do not fit, a count is negative, or the coefficient is unknown.

    Cost: n_resamples * n_models^2 * n_stimuli^2 / 4 operations; ranks take some ten passes over n_resamples *
    n_models
        * n_stimuli^2 / 2 numbers as well, some at a time.

    Source: Nili et al. 2014, PLoS Comput Biol 10:e1003553 (bootstrap of stimuli without pairs of copies).
    """
    n = dissimilarities.shape[1]
    weights = require_counts(counts, n).to(dissimilarities.device)
    first, second = torch.triu_indices(n, n, offset=1, device=dissimilarities.device)
    correlation = WeightedCorrelation(dissimilarities[:, first, second], coefficient)
    blocks = torch.split(weights, max(1, PAIR_WEIGHTS // max(1, len(first))))
    found = torch.cat([correlation.correlate(block[:, first] * block[:, second]) for block in blocks])
    too_few = (weights > 0).sum(dim=1) < MIN_STIMULI_RSA
    return torch.where(too_few[:, None, None], torch.nan, found)


def require_counts(counts: Tensor, n_stimuli: int) -> Tensor:
    """Return counts as float64.

    Raises:
        ValueError: If they are not a matrix with one column per stimulus, or one is negative.
    """
    if counts.ndim != 2 or counts.shape[1] != n_stimuli:
        raise ValueError(f"counts must have shape (n_resamples, {n_stimuli}), got {tuple(counts.shape)}")
    if (counts < 0).any():
        raise ValueError(f"counts must not be negative, got {counts.min()}")
    return counts.double()
