"""Intrinsic dimension of a cloud of samples from the distances to their nearest neighbours.

Unlike the dimension of a spectrum it does not grow where the cloud is curved. Few samples of many dimensions
are too sparse for it: values are then far too low, so that it serves to compare layers on the same samples.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rep_kedro.kernels.similarity.centred import CentredFeatures, centre
from rep_kedro.kernels.similarity.squared_distances import squared_distance_tile

KEPT = 0.9  # of the ratios of TwoNN; the largest are of samples on the border of the cloud or alone
FEWEST_NEIGHBOURS, MOST_NEIGHBOURS = 10, 20  # of the maximum-likelihood estimate
ROUNDING = 1e-12  # logarithms of ratios of distances below it are rounding
FEWEST_SAMPLES = 3  # one and two neighbours
BLOCK_BYTES = 2**25
BYTES_PER_DISTANCE = 3 * 8


@dataclass(frozen=True)
class NeighbourDimensions:
    """Intrinsic dimensions from nearest neighbours, unchanged by rotation, translation and scaling.

    Attributes:
        two_nn: TwoNN, from the ratios of the distances to the second and the first neighbour; NaN where
            undefined.
        mle: Maximum-likelihood estimate, the mean over 10 to 20 neighbours; NaN where undefined.
        n_distinct: Samples that differ; copies of a sample, at distance zero, count once.
        reason: Why values are NaN; empty if none is.
    """

    two_nn: float
    mle: float
    n_distinct: int
    reason: str


def measure_neighbour_dimensions(samples: Tensor) -> NeighbourDimensions:
    """Estimate the intrinsic dimension of samples.

    Args:
        samples: Finite, shape (n_samples, n_features), at least one.

    Returns:
        Both estimates. TwoNN needs 3 different samples, the maximum-likelihood estimate 21.

    Cost:
        Time O(n_samples^2 * n_features), memory of one float64 copy of the samples and some 32 MB.

    Source:
        Facco et al. 2017, doi:10.1038/s41598-017-11873-y (TwoNN: the slope through zero of -log(1 - F) over
        log(r2 / r1), without the tenth of largest ratios, F the share of samples with no larger ratio);
        Levina & Bickel 2004, NeurIPS 17:777 (maximum likelihood, neighbours 10 to 20), with the inverse of
        the mean of inverse dimensions over samples of MacKay & Ghahramani 2005.

    Example:
        >>> angle = 6.2832 * torch.rand(500, generator=torch.Generator().manual_seed(0))
        >>> found = measure_neighbour_dimensions(torch.stack([angle.cos(), angle.sin()], dim=1))
        >>> round(found.mle, 1), found.n_distinct
        (1.0, 500)
    """
    distinct = torch.unique(samples.double(), dim=0)
    n = len(distinct)
    if n < FEWEST_SAMPLES:
        return NeighbourDimensions(math.nan, math.nan, n, f"samples that differ: {n}, need {FEWEST_SAMPLES}")
    logs = _log_distances(centre(distinct), min(MOST_NEIGHBOURS, n - 1))
    if not bool(torch.isfinite(logs).all()):
        why = "samples that differ are at distance zero up to rounding"
        return NeighbourDimensions(math.nan, math.nan, n, why)
    two_nn, mle = _two_nn(logs[:, 1] - logs[:, 0]), math.nan
    if n > MOST_NEIGHBOURS:
        mle = _maximum_likelihood(logs)
    why = "neighbours are equally far" if math.isnan(two_nn) or math.isnan(mle) else ""
    if n <= MOST_NEIGHBOURS:
        why = f"samples that differ: {n}, maximum likelihood needs {MOST_NEIGHBOURS + 1}"
    return NeighbourDimensions(two_nn, mle, n, why)


def _two_nn(log_ratios: Tensor) -> float:
    n = len(log_ratios)
    kept = log_ratios.sort().values[: int(KEPT * n)]
    share = torch.arange(1, len(kept) + 1, dtype=torch.float64, device=kept.device) / n
    if kept[-1] <= ROUNDING:
        return math.nan
    return float(-(kept * torch.log1p(-share)).sum() / kept.square().sum())


def _maximum_likelihood(logs: Tensor) -> float:
    """Return the mean over numbers of neighbours of the dimension of all samples together."""
    dimensions = []
    for k in range(FEWEST_NEIGHBOURS, MOST_NEIGHBOURS + 1):
        inverse = float((logs[:, k - 1 : k] - logs[:, : k - 1]).mean())
        dimensions.append(1 / inverse if inverse > ROUNDING else math.nan)
    return sum(dimensions) / len(dimensions)


def _log_distances(model: CentredFeatures, n_neighbours: int) -> Tensor:
    """Return the logarithms of distances to the nearest, ascending, (n_samples, n_neighbours), float64."""
    x = model.features
    step = max(1, BLOCK_BYTES // (BYTES_PER_DISTANCE * len(x)))
    nearest = x.new_empty(len(x), n_neighbours)
    for start in range(0, len(x), step):
        rows = slice(start, min(start + step, len(x)))
        squared = squared_distance_tile(model, rows, slice(0, len(x)), x.new_empty(rows.stop - start, len(x)))
        squared.diagonal(offset=start).fill_(torch.inf)
        nearest[rows] = squared.topk(n_neighbours, dim=1, largest=False, sorted=True).values
    return nearest.log_().div_(2)
