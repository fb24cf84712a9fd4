"""Closed-form maps from one network's channels to another's.

Each is read off the joint moments of the two layers. Each position of an image is a sample, so a map is a
1 x 1 convolution with bias.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rep_kedro.kernels.layers.streaming import RELATIVE_ROUNDING
from rep_kedro.kernels.stitching.moments import PairedMoments, channel_scale

RELATIVE_CUTOFF = 1e-12  # float32 activations carry (1e-7)^2: less variance than this, relative, is rounding
_BLOCK = 2**22  # numbers of the systems that are solved at once


class AffineMap(NamedTuple):
    """y = weight x + bias; weight (n_end, n_front), bias (n_end,), float64; rank the front could span."""

    weight: Tensor
    bias: Tensor
    rank: int


def rank_of(weight: Tensor) -> int:
    """Return the numerical rank of a weight that acts on float32 numbers; 0 if it is not finite.

    Singular values below the rounding of float32, relative to the largest, count as zero.
    """
    if not bool(torch.isfinite(weight).all()):
        return 0
    rounding = max(weight.shape) * torch.finfo(torch.float32).eps
    return int(torch.linalg.matrix_rank(weight.to(torch.float64), rtol=rounding))


def fit_affine_map(moments: PairedMoments, *, relative_cutoff: float = RELATIVE_CUTOFF) -> AffineMap:
    """Return the affine map with the least squared error over all samples.

    Directions in which the front (its channels scaled to variance 1) does not vary beyond ``relative_cutoff``
    are left out; on them the map is zero.

    Args:
        moments: Of the samples to fit on, at least one.
        relative_cutoff: Eigenvalues of the front's correlation matrix below this times the largest count as
            zero.

    Returns:
        The map and the rank that was used, 0 for a front that does not vary (the map then gives the end's
        mean).

    Raises:
        ValueError: If there is no sample.

    Source:
        Csiszárik et al. 2021, arXiv:2110.14633, section 3 (direct matching), solved over all samples at once.
    """
    moments.require_samples()
    correlation, inverse = _correlate_front(moments)
    eigenvalues, vectors = torch.linalg.eigh(correlation)
    kept = eigenvalues > relative_cutoff * eigenvalues[-1].clamp(min=0.0)
    vectors, eigenvalues = vectors[:, kept], eigenvalues[kept]
    weight = (moments.cross_scatter * inverse) @ (vectors / eigenvalues) @ vectors.T * inverse
    return _through_means(weight, moments, int(kept.sum()))


def fit_reduced_rank_map(moments: PairedMoments, *, rank: int) -> AffineMap:
    """Return the affine map of at most ``rank`` with the least squared error over all samples.

    Raises:
        ValueError: If ``rank`` is below 1, or there is no sample.

    Source:
        Izenman 1975, doi:10.1016/0047-259X(75)90042-1 (reduced-rank regression, identity weighting).
    """
    if rank < 1:
        raise ValueError(f"the rank of a map must be at least 1, got {rank}")
    full = fit_affine_map(moments)
    fitted = full.weight @ moments.front_scatter @ full.weight.T
    leading = torch.linalg.eigh(fitted).eigenvectors[:, -rank:]  # ascending: the last carry most
    weight = leading @ (leading.T @ full.weight)
    return _through_means(weight, moments, min(rank, full.rank))


def fit_orthogonal_map(moments: PairedMoments) -> AffineMap:
    """Return the rotation or reflection, with bias, with the least squared error over all samples.

    Raises:
        ValueError: If the layers have other widths, or there is no sample.

    Source:
        Schönemann 1966, doi:10.1007/BF02289451, on centred channels.
    """
    moments.require_samples()
    n_end, n_front = moments.cross_scatter.shape
    if n_end != n_front:
        raise ValueError(f"an orthogonal map needs layers of equal width, got {n_front} and {n_end}")
    left, _, right = torch.linalg.svd(moments.cross_scatter)
    weight = left @ right
    return _through_means(weight, moments, n_front)


def measure_map_r2(fitted: AffineMap, moments: PairedMoments) -> float:
    """Return the share of the end's variance that the map explains, over all channels.

    Args:
        fitted: A map, fitted on these samples or on others.
        moments: Of the samples to judge it on.

    Returns:
        At most 1; below 0 on samples where the map is worse than their mean; NaN for an end that does not
        vary.

    Raises:
        ValueError: If there is no sample.
    """
    moments.require_samples()
    total = moments.end_scatter.trace()
    energy = total + moments.joint.n_samples * moments.end_mean.square().sum()
    if total <= RELATIVE_ROUNDING * energy:
        return math.nan
    return float(_explained_scatter(fitted, moments) / total)


def apply_affine_map(fitted: AffineMap, activation: Tensor) -> Tensor:
    """Return an activation with its channels mapped at every position.

    Args:
        fitted: The map.
        activation: Shape (n, n_front, height, width), (n, tokens, n_front) or (n, n_front).

    Returns:
        The same shape with n_end channels, dtype of the activation.
    """
    weight, bias = fitted.weight.to(activation), fitted.bias.to(activation)
    if activation.ndim == 4:
        return torch.nn.functional.conv2d(activation, weight[:, :, None, None], bias)
    return torch.nn.functional.linear(activation, weight, bias)


def fit_ridge_map(moments: PairedMoments, *, ridge: float) -> AffineMap:
    """Return the affine map with the least squared error plus a penalty on its weights.

    The penalty is ``ridge`` times the number of samples times the squared weights, for front channels scaled
    to variance 1; the bias is free.

    Args:
        moments: Of the samples to fit on, at least one.
        ridge: Strength, above 0 and finite.

    Raises:
        ValueError: If the strength is out of range, or there is no sample.

    Source:
        Hoerl & Kennard 1970, doi:10.1080/00401706.1970.10488634, on standardised channels.
    """
    moments.require_samples()
    if not 0.0 < ridge < math.inf:
        raise ValueError(f"a ridge must be above 0 and finite, got {ridge}")
    correlation, inverse = _correlate_front(moments)
    weight = (moments.cross_scatter * inverse) @ torch.linalg.inv(
        correlation + ridge * torch.eye(len(inverse), dtype=torch.float64)
    )
    return _through_means(weight * inverse, moments, int((inverse > 0.0).sum()))


def choose_ridge(
    fit: PairedMoments, held_out: PairedMoments, ridges: Sequence[float]
) -> tuple[float, dict[float, float]]:
    """Return the strength whose map explains most of held-out samples, and what each explains.

    Args:
        fit: Moments of the samples to fit on.
        held_out: Moments of other training stimuli, of the same layers.
        ridges: Strengths, at least one; of equal ones the largest is chosen.

    Returns:
        The strength, and the share of the held-out variance that each explains (`measure_map_r2`). Fit the
        map again on ``fit.merged(held_out)``.

    Raises:
        ValueError: If there is no strength, one is out of range, or there is no sample.
    """
    if not ridges:
        raise ValueError("a ridge is chosen among at least 1, got none")
    explained = {ridge: measure_map_r2(fit_ridge_map(fit, ridge=ridge), held_out) for ridge in ridges}
    defined = {ridge: -math.inf if math.isnan(r2) else r2 for ridge, r2 in explained.items()}
    return max(ridges, key=lambda ridge: (defined[ridge], ridge)), explained


def fit_masked_map(moments: PairedMoments, mask: Tensor) -> AffineMap:
    """Return the affine map with the least squared error whose weight is zero outside a mask.

    Args:
        moments: Of the samples to fit on, at least one.
        mask: Entries that may differ from zero, bool (n_end, n_front), see `masks.MASKS`.

    Raises:
        ValueError: If the mask has another shape, or there is no sample.
    """
    moments.require_samples()
    if mask.shape != moments.cross_scatter.shape:
        raise ValueError(
            f"a mask must have the shape {tuple(moments.cross_scatter.shape)}, got {tuple(mask.shape)}"
        )
    correlation, inverse = _correlate_front(moments)
    kept = mask & (inverse > 0.0)
    n_kept = max(1, int(kept.sum(dim=1).max()))
    places = kept.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :n_kept]
    valid = kept.gather(1, places).to(torch.float64)
    cross = (moments.cross_scatter * inverse).gather(1, places) * valid
    found = []
    for rows in torch.split(torch.arange(len(mask)), max(1, _BLOCK // n_kept**2)):
        own = places[rows]
        products = correlation[own[:, :, None], own[:, None, :]]
        products = products * valid[rows, :, None] * valid[rows, None, :]
        found.append((torch.linalg.pinv(products, hermitian=True) @ cross[rows, :, None])[:, :, 0])
    weight = torch.zeros(mask.shape, dtype=torch.float64).scatter(1, places, torch.cat(found) * valid)
    return _through_means(weight * inverse, moments, rank_of(weight * inverse))


def zero_small_weights(fitted: AffineMap, threshold: float) -> AffineMap:
    """Return the map with weights whose absolute value is below a threshold at zero; the bias stays.

    Raises:
        ValueError: If the threshold is below 0 or not finite.

    Source:
        Csiszárik et al. 2021, arXiv:2110.14633 (sparse stitches; their threshold is 1e-4).
    """
    if not 0.0 <= threshold < math.inf:
        raise ValueError(f"a threshold must be at least 0 and finite, got {threshold}")
    weight = torch.where(fitted.weight.abs() < threshold, 0.0, fitted.weight)
    return AffineMap(weight, fitted.bias, rank_of(weight))


def measure_map_error(fitted: AffineMap, moments: PairedMoments) -> float:
    """Return the mean squared difference, over samples and channels, between mapped front and end.

    Args:
        fitted: A map, fitted on these samples or on others.
        moments: Of the samples to judge it on.

    Raises:
        ValueError: If there is no sample.
    """
    moments.require_samples()
    explained = _explained_scatter(fitted, moments)
    total = moments.end_scatter.trace() - explained
    return float(total.clamp(min=0.0) / (moments.joint.n_samples * moments.n_end))


def measure_mahalanobis(fitted: AffineMap, moments: PairedMoments, reference: PairedMoments) -> float:
    """Return how far stitched activations are from the end network's, in units of the latter's own spread.

    Mean over samples of the squared Mahalanobis distance from mean and covariance of the end, divided by the
    rank of that covariance: 1 for the end's own activations, above 1 where the map leaves their range.

    Args:
        fitted: A map.
        moments: Front samples that are mapped (the end is not used).
        reference: Whose end gives mean and covariance; training samples.

    Returns:
        At least 0; NaN where the end does not vary.

    Raises:
        ValueError: If there is no sample.

    Source:
        Mahalanobis 1936; Lee et al. 2018, arXiv:1807.03888 (activations out of distribution).
    """
    for some in (moments, reference):
        some.require_samples()
    scale = channel_scale(reference.end_scatter, reference.end_mean, reference.joint.n_samples)
    inverse = _invert(scale)
    values, vectors = torch.linalg.eigh(reference.end_scatter * inverse * inverse[:, None])
    kept = values > RELATIVE_CUTOFF * values[-1].clamp(min=0.0)
    if not bool(kept.any()):
        return math.nan
    axes = vectors[:, kept].T * inverse / values[kept, None].sqrt() * reference.joint.n_samples**0.5
    offset = fitted.weight @ moments.front_mean + fitted.bias - reference.end_mean
    mapped = axes @ fitted.weight
    spread = (mapped @ moments.front_scatter * mapped).sum() / moments.joint.n_samples
    return float((spread + (axes @ offset).square().sum()) / int(kept.sum()))


def describe_weight(fitted: AffineMap) -> dict[str, float]:
    """Return ``weight_rank`` (numerical rank) and ``nonzero_fraction`` (share of weights that are not 0)."""
    return {
        "weight_rank": rank_of(fitted.weight),
        "nonzero_fraction": float(fitted.weight.count_nonzero() / fitted.weight.numel()),
    }


def _through_means(weight: Tensor, moments: PairedMoments, rank: int) -> AffineMap:
    """Return the map that takes the front's mean to the end's."""
    return AffineMap(weight, moments.end_mean - weight @ moments.front_mean, rank)


def _correlate_front(moments: PairedMoments) -> tuple[Tensor, Tensor]:
    """Return the correlations of the front's channels, and one over the root of each one's scatter.

    Both are 0 for channels that do not vary.
    """
    scale = channel_scale(moments.front_scatter, moments.front_mean, moments.joint.n_samples)
    inverse = _invert(scale)
    return moments.front_scatter * inverse * inverse[:, None], inverse


def _invert(scale: Tensor) -> Tensor:
    return torch.where(scale > 0.0, 1.0 / scale, torch.zeros_like(scale))


def _explained_scatter(fitted: AffineMap, moments: PairedMoments) -> Tensor:
    """Return by how much the map lowers the end's squared deviations from its mean."""
    explained = 2.0 * (fitted.weight * moments.cross_scatter).sum()
    explained -= (fitted.weight @ moments.front_scatter * fitted.weight).sum()
    offset = moments.end_mean - fitted.weight @ moments.front_mean - fitted.bias
    return explained - moments.joint.n_samples * offset.square().sum()
