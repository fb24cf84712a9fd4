"""Squared distances between stimuli by one product of features, and by differences where that cancels."""

import torch
from torch import Tensor

from rep_kedro.kernels.similarity.centred import CLOSE, CentredFeatures

RELATIVE_ZERO = 1e-14  # squared distances are sums of numbers rounded to 1e-16
ZERO_OF_DIFFERENCES = 1e-30  # of squared differences: these are off by a few roundings of the features
DIFFERENCES = 2**18  # numbers subtracted at once


def squared_distance_tile(
    model: CentredFeatures, rows: slice, columns: slice | Tensor, out: Tensor
) -> Tensor:
    """Write squared distances between two choices of stimuli to ``out`` and return it; never negative.

    In float64 a squared distance that is nothing but rounding is zero, and those of close stimuli, where a
    model has many, are sums of squared differences. In float32 the features themselves have not enough digits
    for that to be of use (``stimulus_sample`` judges whether they have).
    """
    x, norms = model.features, model.squared_norms.to(model.features.dtype)
    torch.addmm(norms[columns], x[rows], x[columns].T, alpha=-2, out=out)
    out.add_(norms[rows, None]).clamp_min_(0)
    if x.dtype == torch.float64:
        sizes = norms[rows, None] + norms[columns]
        out.masked_fill_(out < RELATIVE_ZERO * sizes, 0.0)
        if model.is_crowded:
            refine_close(out, x[rows], x[columns], sizes)
    return out


def refine_close(squared: Tensor, x: Tensor, y: Tensor, sizes: Tensor) -> None:
    """Overwrite squared distances far below the squared norms: products of features leave them few digits.

    Args:
        squared: Squared distances between the rows of ``x`` and ``y``, overwritten.
        x: Centred features, shape (n_rows, n_features), float64.
        y: Centred features, shape (n_columns, n_features), float64.
        sizes: Sums of the squared norms of two rows, shape (n_rows, n_columns).
    """
    first, second = (squared < CLOSE * sizes).nonzero(as_tuple=True)
    step = max(1, DIFFERENCES // x.shape[1])
    for start in range(0, len(first), step):
        i, j = first[start : start + step], second[start : start + step]
        exact = (x[i] - y[j]).square_().sum(dim=1)
        squared[i, j] = exact.masked_fill_(exact < ZERO_OF_DIFFERENCES * sizes[i, j], 0.0)
