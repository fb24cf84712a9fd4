"""CKA of which neither the sample of stimuli nor the sample of features shifts the terms.

The debiased estimator looks at different stimuli only. Its self-similarities still contain the product of
each feature with itself, which is there however the population of features looks, and lowers CKA of models of
which few features are known. Here these products are left out as well.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from rep_kedro.kernels.similarity.centred import CentredFeatures, centre_all
from rep_kedro.kernels.similarity.cosines import flaws_of
from rep_kedro.kernels.similarity.distance_sums import SquaredDistance, distance_pair_sums
from rep_kedro.kernels.similarity.gram import ZERO_BELOW_EPS
from rep_kedro.kernels.similarity.model_pairs import are_equal, mirror
from rep_kedro.kernels.similarity.stimulus_sample import sample_stimuli
from rep_kedro.kernels.undefined import Reasons, pair_reasons

NUMBERS_AT_ONCE = 2**20
ONE_FEATURE = "it has one feature; what features have in common takes two"
NOT_POSITIVE = (
    "different features have nothing in common: its self-similarity without products of a feature with itself"
    " is not positive; use more stimuli or features"
)


def compare_feature_sampled_cka(
    representations: Sequence[Tensor], *, memory_bytes: int
) -> tuple[Tensor, Reasons]:
    """Compare all models with linear CKA, corrected for the sampling of stimuli and of features.

    An estimate of the CKA of populations, of which the stimuli and the features of each model are independent
    samples: its numerator and both terms of its denominator are unbiased. It may exceed 1. Two models with
    the same features are one model, not two samples, and have the value 1.

    Args:
        representations: One matrix for each model, shape (n_stimuli, n_features_i), at least four stimuli.
        memory_bytes: Working memory beyond the features and their centred copy in float64.

    Returns:
        Similarities, shape (n_models, n_models), float64, symmetric, NaN where undefined, and a reason for
        each NaN.

    Cost:
        Time O(n_stimuli^2 * (sum of widths + n_models^2)) in float64.

    Source:
        Chun et al. 2025, arXiv:2502.15104.
    """
    models = centre_all(representations, dtype=torch.float64)
    inner, own, rounding = sum_distinct(models, memory_bytes=memory_bytes)
    widths = torch.tensor([x.shape[1] for x in representations], dtype=torch.float64, device=inner.device)
    corrected = inner.diagonal() - own
    why = {int(m): NOT_POSITIVE for m in (corrected <= rounding).nonzero().flatten()}
    why |= {int(m): ONE_FEATURE for m in (widths == 1).nonzero().flatten()} | flaws_of(models)
    size = corrected * widths / (widths - 1)  # an estimate of what the sum over all features would be
    size[list(why)] = torch.nan
    values = mirror(inner / torch.outer(size, size).sqrt())
    for a, first in enumerate(representations):
        for b in range(a, len(representations)):
            if are_equal(first, representations[b]):
                values[a, b] = values[b, a] = torch.nan if a in why else 1.0
    return values, pair_reasons(why, len(models))


def sum_distinct(models: Sequence[CentredFeatures], *, memory_bytes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Sum products of Gram matrices over different stimuli, as the debiased CKA does.

    Divided by n (n - 3) and the numbers of features of both models, or by d (d - 1) for the difference of the
    first two results of one model, these are unbiased estimates of the HSIC of populations of features.

    Args:
        models: Centred features in float64.
        memory_bytes: Bounds the tiles of matrices.

    Returns:
        Products of two models, shape (n_models, n_models); the part of each model with itself in which both
        factors are of the same feature, shape (n_models,); and how far their difference may be off.
    """
    [(sums, _)] = distance_pair_sums(
        models, [SquaredDistance()], sample_stimuli(models), memory_bytes=memory_bytes
    )
    sums = sums.scaled(-0.5)  # U-centring does not see that Gram matrices and squared distances differ
    own = torch.stack([_sum_of_single_features(m.features) for m in models])
    return sums.u_centred(), own, sums.rounding + ZERO_BELOW_EPS * torch.finfo(torch.float64).eps * own


def _sum_of_single_features(features: Tensor) -> Tensor:
    """Return the sum over features of the product of the U-centred matrix of one feature with itself."""
    step = max(1, NUMBERS_AT_ONCE // len(features))
    return torch.stack([_self_products(part).sum() for part in torch.split(features, step, dim=1)]).sum()


def _self_products(x: Tensor) -> Tensor:
    """Return for each column c the squared norm of the U-centred matrix of ``c_i c_j``, shape (n_features,).

    Sums over other stimuli are made of the others alone: taken from the sum of all, one far stimulus would
    leave no digits. The median moves it less than the mean.
    """
    n = len(x)
    x = x - x.median(dim=0).values
    squares, others = x.square(), _sum_before(x) + _sum_before(x.flip(0)).flip(0)
    products = 2 * (squares * _sum_before(squares)).sum(dim=0)
    row_sums = x * others
    return (
        products - 2 / (n - 2) * row_sums.square().sum(dim=0) + row_sums.sum(dim=0) ** 2 / ((n - 1) * (n - 2))
    )


def _sum_before(x: Tensor) -> Tensor:
    """Return for each row the sum of the rows before it."""
    return torch.cat([torch.zeros_like(x[:1]), x[:-1].cumsum(dim=0)])
