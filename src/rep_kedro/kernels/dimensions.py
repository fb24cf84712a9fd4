"""The dimensions of one layer in one call, from its two spectra."""

import math
from dataclasses import dataclass

from torch import Tensor

from rep_kedro.kernels import spectrum


@dataclass(frozen=True)
class Dimensions:
    """What the spectra of a layer say of its dimension.

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
