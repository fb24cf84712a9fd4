"""Which directions of a representation are more than the rounding of its numbers.

A number of a representation x was rounded by at most ``rounding * |x_ij|``. The same holds once rows and
columns are scaled, so rank is decided where neither a large stimulus nor a large feature hides the others: on
``z = row_scale * [1, x] * column_scale`` with columns of unit norm. Rounding changes no singular value of z
by more than ``rounding * sqrt(n_features)`` (Weyl): every direction above it is in the features themselves.
The column of ones represents the mean: centring takes away one direction, whatever the sizes of the stimuli.
"""

import torch
from torch import Tensor


def rounding_of(representation: Tensor) -> float:
    """Return what share of its size a number of a representation may be wrong by.

    One unit in the last place of float32, also of float64 numbers that float32 holds exactly: they were
    float32 before. Of other float64 numbers one such unit for each row or column, as decompositions round.
    """
    if representation.dtype != torch.float64 or torch.equal(representation, representation.float().double()):
        return torch.finfo(torch.float32).eps
    return max(representation.shape) * torch.finfo(torch.float64).eps


def find_span(representation: Tensor, rounding: float) -> Tensor:
    """Return an orthonormal basis of the centred features without directions that rounding can have made.

    Args:
        representation: Shape (n_stimuli, n_features), finite, no feature constant; need not be centred.
        rounding: See ``rounding_of``.

    Returns:
        Shape (n_stimuli, rank), float64, columns of mean zero.

    Cost:
        Time O(n_stimuli * n_features * s) with s the smaller of the two, several times that of a Gram matrix.
    """
    features = representation.double() / representation.abs().amax(dim=0).double()
    size = torch.linalg.vector_norm(features, dim=1)
    # small stimuli need no enlarging: whatever they say of the rank, the others say as well
    size = size.clamp(min=float(size[size > 0].median()))[:, None]
    scaled = torch.cat([torch.ones_like(size), features], dim=1) / size
    scaled /= torch.linalg.vector_norm(scaled, dim=0)
    left, singular, _ = torch.linalg.svd(scaled, full_matrices=False)
    kept = left[:, singular > rounding * features.shape[1] ** 0.5]
    with_mean = torch.linalg.qr(kept * size).Q
    mean = with_mean.mean(dim=0)[:, None]
    directions = with_mean @ torch.linalg.qr(mean, mode="complete").Q[:, 1:]
    directions -= directions.mean(dim=0)
    orthonormal: Tensor = torch.linalg.qr(directions).Q
    return orthonormal
