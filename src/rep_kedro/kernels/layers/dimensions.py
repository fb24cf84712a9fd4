"""The spectrum of samples in memory, and the dimensions of one layer from its two spectra."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rep_kedro.kernels.layers import spectrum
from rep_kedro.kernels.layers.streaming import RELATIVE_ROUNDING, StreamedMoments


@dataclass(frozen=True)
class Dimensions:
    """Measures of a layer's dimension from its spectra.

    Attributes:
        intrinsic_dimension: Leading principal components that carry the share ``delta`` of the variance; None
            where nothing varies.
        saturation: The same as a share of the channels, NaN where nothing varies.
        effective_rank: exp of the entropy of the eigenvalues as shares, NaN where nothing varies.
        participation_ratio: (sum lambda)^2 / sum lambda^2, NaN where nothing varies.
        rankme: RankMe of the samples as they are, not centred; NaN where all are zero.
    """

    intrinsic_dimension: int | None
    saturation: float
    effective_rank: float
    participation_ratio: float
    rankme: float


def compute_covariance_eigenvalues(samples: Tensor) -> tuple[Tensor, bool]:
    """Return the eigenvalues of the covariance of samples, and whether the samples are all the same.

    Args:
        samples: Finite, shape (n_samples, n_features).

    Returns:
        Shape (n_features,), float64, descending; and True where nothing varies beyond rounding.

    Cost:
        Memory of 8 * n_features * min(n_samples, n_features) bytes: of more features than samples, the
        covariance is never built.
    """
    n_samples, n_features = samples.shape
    if n_features <= n_samples:
        moments = StreamedMoments(n_features, device=samples.device)
        moments.update(samples)
        return spectrum.compute_eigenvalues(moments.covariance()), moments.is_constant()
    raw = samples.to(torch.float64)
    centred = raw - raw.mean(dim=0)
    is_constant = bool(centred.square().sum() <= RELATIVE_ROUNDING * raw.square().sum())
    eigenvalues = torch.linalg.svdvals(centred).square() / n_samples
    return torch.nn.functional.pad(eigenvalues, (0, n_features - n_samples)), is_constant


def measure_dimensions(
    centred_lambda: Tensor | None,
    uncentred_sigma: Tensor,
    *,
    delta: float = 0.99,
    rule: spectrum.SaturationRule = "reach",
    epsilon: float = 1e-7,
) -> Dimensions:
    """Return all dimensions of a layer.

    Args:
        centred_lambda: Eigenvalues of the covariance of the channels; None if the channels do not vary.
        uncentred_sigma: Singular values of the samples as they are.
        delta: Share of the variance that the intrinsic dimension must carry.
        rule: Of the intrinsic dimension (``measure_intrinsic_dimension``).
        epsilon: Added to each singular value share by RankMe.

    Example:
        >>> import torch
        >>> found = measure_dimensions(torch.tensor([1.0, 1.0, 0.0, 0.0]), torch.tensor([2.0, 2.0, 0.0, 0.0]))
        >>> found.intrinsic_dimension, found.saturation, round(found.rankme, 3), found.participation_ratio
        (2, 0.5, 2.0, 2.0)
    """
    rankme = math.nan
    if uncentred_sigma.max() > 0.0:
        rankme = spectrum.measure_rankme_uncentred_sigma(uncentred_sigma, epsilon=epsilon)
    if centred_lambda is None:
        return Dimensions(None, math.nan, math.nan, math.nan, rankme)
    return Dimensions(
        spectrum.measure_intrinsic_dimension(centred_lambda, delta=delta, rule=rule),
        spectrum.measure_saturation(centred_lambda, delta=delta, rule=rule),
        spectrum.measure_effective_rank_centred_lambda(centred_lambda),
        spectrum.measure_participation_ratio_centred_lambda(centred_lambda),
        rankme,
    )
