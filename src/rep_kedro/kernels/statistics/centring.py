"""Per-model inputs of inference: centred, scaled or ranked matrices over stimuli, in float64.

Here they are kept whole, since resampling and permuting use them many times; measures on many stimuli stream
them instead. A model that does not distinguish stimuli gets NaN.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from rep_kedro.kernels.statistics.correlation import average_ranks, is_constant

MIN_STIMULI_DEBIASED = 4
COEFFICIENTS = ("pearson", "spearman", "rho_a", "cosine")
ROUNDING = (64 * torch.finfo(torch.float64).eps) ** 2  # rounding leaves less of the raw energy


def build_linear_grams(representations: Sequence[Tensor]) -> Tensor:
    """Return linear Gram matrices of centred features, float64, shape (n_models, n_stimuli, n_stimuli).

    Args:
        representations: One matrix per model, shape (n_stimuli, n_features_i), the same stimuli in the same
            order.

    Returns:
        Gram matrices of features scaled to energy one; NaN for a model whose stimuli have all the same
        features.

    Raises:
        ValueError: If models have different numbers of stimuli.
    """
    count_stimuli(representations)
    units = [scale_features(x) for x in representations]
    return torch.stack([x @ x.T for x in units])


def scale_features(x: Tensor) -> Tensor:
    """Centre features and scale them to energy one.

    Args:
        x: Features, shape (n_stimuli, n_features).

    Returns:
        Float64, same shape, columns of mean zero, sum of squares one; NaN where all stimuli have the same
        features.
    """
    raw = x.double()
    centred = raw - raw.mean(dim=0)
    largest = centred.abs().max()
    centred = centred / largest  # no square underflows
    distinct = (largest / raw.abs().max()).square() > ROUNDING
    return torch.where(distinct, centred / centred.square().sum().sqrt(), torch.nan)


def scale_grams(grams: Tensor) -> Tensor:
    """Return each matrix in float64 with largest entry one in absolute value, NaN if all entries are zero."""
    grams = grams.double()
    return grams / grams.abs().amax(dim=(1, 2), keepdim=True)


def count_stimuli(representations: Sequence[Tensor]) -> int:
    """Return the number of stimuli that all models share.

    Raises:
        ValueError: If models have different numbers of stimuli.
    """
    counts = sorted({len(x) for x in representations})
    if len(counts) != 1:
        raise ValueError(f"representations must have the same stimuli, got row counts {counts}")
    return counts[0]


def centre_grams(grams: Tensor, *, debiased: bool = True) -> Tensor:
    """Centre Gram matrices and give them length one, so that CKA is their inner product.

    Args:
        grams: Symmetric kernel matrices, one per model, shape (n_models, n_stimuli, n_stimuli).
        debiased: U-centre (zero diagonal, unbiased HSIC) rather than centre rows and columns.

    Returns:
        Float64, same shape; NaN for a model whose centred matrix is zero (it does not distinguish stimuli).

    Raises:
        ValueError: If the debiased estimator gets fewer than four stimuli.

    Source: Szekely & Rizzo 2014, Ann Stat 42:2382 (U-centring); Kornblith et al. 2019, arXiv:1905.00414
        (CKA).
    """
    n = grams.shape[-1]
    if debiased and n < MIN_STIMULI_DEBIASED:
        raise ValueError(f"debiased CKA needs at least {MIN_STIMULI_DEBIASED} stimuli, got {n}")
    grams = scale_grams(grams)
    energy = grams.square().sum(dim=(1, 2), keepdim=True)
    centred = grams - grams.mean(dim=1, keepdim=True)
    centred = centred - centred.mean(dim=2, keepdim=True)
    if debiased:
        centred.diagonal(dim1=1, dim2=2).zero_()
        rows = centred.sum(dim=2, keepdim=True) / (n - 2)
        centred = centred - rows - rows.mT + rows.sum(dim=1, keepdim=True) / (n - 1)
        centred.diagonal(dim1=1, dim2=2).zero_()
    length = centred.square().sum(dim=(1, 2), keepdim=True)
    return torch.where(length > ROUNDING * energy, centred / length.sqrt(), torch.nan)


def centre_dissimilarities(dissimilarities: Tensor, *, coefficient: str = "pearson") -> Tensor:
    """Centre, rank or scale dissimilarities, so that RSA is the inner product of the matrices.

    Args:
        dissimilarities: Symmetric matrices, one per model, shape (n_models, n_stimuli, n_stimuli); only what
            is above the diagonal is used.
        coefficient: "pearson", "spearman", "rho_a" (ranks; no credit for ties) or "cosine" (neither centred
            nor ranked).

    Returns:
        Float64, same shape, symmetric, zero diagonal, sum of squares one (of "rho_a" below one where there
        are ties); NaN for a model whose dissimilarities do not vary, for "cosine" are all zero.

    Raises:
        ValueError: If the coefficient is none of these.

    Source: Schütt et al. 2023, doi:10.7554/eLife.82566 (rho-a); Diedrichsen et al. 2021, arXiv:2007.02789
        (cosine).
    """
    if coefficient not in COEFFICIENTS:
        raise ValueError(f"unknown coefficient {coefficient!r} for RSA; known: {', '.join(COEFFICIENTS)}")
    n_models, n = dissimilarities.shape[:2]
    first, second = torch.triu_indices(n, n, offset=1, device=dissimilarities.device)
    condensed = dissimilarities[:, first, second].double()
    if coefficient == "cosine":
        blind = ~(condensed != 0).any(dim=1)
    else:
        blind = is_constant(condensed, torch.ones_like(condensed, dtype=torch.bool))
    n_pairs = condensed.shape[1]
    if coefficient in ("spearman", "rho_a"):
        condensed = average_ranks(condensed)
    if coefficient != "cosine":
        condensed = condensed - condensed.mean(dim=1, keepdim=True)
    if coefficient == "rho_a":
        condensed = condensed / ((float(n_pairs) ** 3 - n_pairs) / 6) ** 0.5  # length of ranks without ties
    else:
        condensed = condensed / condensed.abs().amax(dim=1, keepdim=True)
        condensed = condensed / (2 * condensed.square().sum(dim=1, keepdim=True)).sqrt()
    unit = condensed.new_zeros(n_models, n, n)
    unit[:, first, second] = unit[:, second, first] = torch.where(blind[:, None], torch.nan, condensed)
    return unit
