"""Maps from one network's channels to another's, and how well the network works after such a map.

Everything about a pair of layers that a linear map needs is in the joint moments of their channels,
streamed once; both directions and every family of maps are read off them. Each position of an image is a
sample, so a map is a 1 x 1 convolution with bias.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rep_kedro.kernels.layers.streaming import RELATIVE_ROUNDING, StreamedMoments

RELATIVE_CUTOFF = 1e-12  # float32 activations carry (1e-7)^2: less variance than this, relative, is rounding
SINGLE_ROUNDING = 1e-14  # (1e-7)^2: a float32 channel that varies less relative to its mean is constant


class AffineMap(NamedTuple):
    """y = weight x + bias; weight (n_end, n_front), bias (n_end,), float64; rank the front could span."""

    weight: Tensor
    bias: Tensor
    rank: int


class PairedMoments:
    """Streamed moments of two layers' channels over the same positions of the same stimuli.

    Args:
        n_front: Channels of the layer that a map starts from.
        n_end: Channels of the layer that it aims at.

    Raises:
        ValueError: If a width is below 1.
    """

    def __init__(self, n_front: int, n_end: int) -> None:
        if min(n_front, n_end) < 1:
            raise ValueError(f"both layers need at least 1 channel, got {n_front} and {n_end}")
        self.n_front = n_front
        self.joint = StreamedMoments(n_front + n_end)

    def update(self, front: Tensor, end: Tensor) -> None:
        """Take in samples of both layers.

        Args:
            front: Shape (n_samples, n_front).
            end: Shape (n_samples, n_end), the same samples in the same order.

        Raises:
            ValueError: If the shapes do not fit, or a value is not finite.
        """
        if len(front) != len(end) or front.shape[1:] != (self.n_front,):
            raise ValueError(
                f"layers must give samples of the same positions, the front with {self.n_front} channels, "
                f"got shapes {tuple(front.shape)} and {tuple(end.shape)}"
            )
        self.joint.update(torch.cat([front, end], dim=1))

    def swapped(self) -> "PairedMoments":
        """Return the moments of the same samples with front and end exchanged."""
        order = torch.arange(self.joint.n_features).roll(-self.n_front)
        other = PairedMoments(self.joint.n_features - self.n_front, self.n_front)
        other.joint.n_samples = self.joint.n_samples
        other.joint.mean = self.joint.mean[order]
        other.joint.scatter = self.joint.scatter[order][:, order]
        return other

    @property
    def front_mean(self) -> Tensor:
        """Mean of the front, (n_front,)."""
        return self.joint.mean[: self.n_front]

    @property
    def end_mean(self) -> Tensor:
        """Mean of the end, (n_end,)."""
        return self.joint.mean[self.n_front :]

    @property
    def front_scatter(self) -> Tensor:
        """Scatter matrix of the front, (n_front, n_front)."""
        return self.joint.scatter[: self.n_front, : self.n_front]

    @property
    def end_scatter(self) -> Tensor:
        """Scatter matrix of the end, (n_end, n_end)."""
        return self.joint.scatter[self.n_front :, self.n_front :]

    @property
    def cross_scatter(self) -> Tensor:
        """Scatter between end and front, (n_end, n_front)."""
        return self.joint.scatter[self.n_front :, : self.n_front]


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
    _require_samples(moments)
    scale = _channel_scale(moments)
    inverse = torch.where(scale > 0.0, 1.0 / scale, torch.zeros_like(scale))
    correlation = moments.front_scatter * inverse * inverse[:, None]
    eigenvalues, vectors = torch.linalg.eigh(correlation)
    kept = eigenvalues > relative_cutoff * eigenvalues[-1].clamp(min=0.0)
    vectors, eigenvalues = vectors[:, kept], eigenvalues[kept]
    weight = (moments.cross_scatter * inverse) @ (vectors / eigenvalues) @ vectors.T * inverse
    return AffineMap(weight, moments.end_mean - weight @ moments.front_mean, int(kept.sum()))


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
    return AffineMap(weight, moments.end_mean - weight @ moments.front_mean, min(rank, full.rank))


def fit_orthogonal_map(moments: PairedMoments) -> AffineMap:
    """Return the rotation or reflection, with bias, with the least squared error over all samples.

    Raises:
        ValueError: If the layers have other widths, or there is no sample.

    Source:
        Schönemann 1966, doi:10.1007/BF02289451, on centred channels.
    """
    _require_samples(moments)
    n_end, n_front = moments.cross_scatter.shape
    if n_end != n_front:
        raise ValueError(f"an orthogonal map needs layers of equal width, got {n_front} and {n_end}")
    left, _, right = torch.linalg.svd(moments.cross_scatter)
    weight = left @ right
    return AffineMap(weight, moments.end_mean - weight @ moments.front_mean, n_front)


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
    _require_samples(moments)
    total = moments.end_scatter.trace()
    energy = total + moments.joint.n_samples * moments.end_mean.square().sum()
    if total <= RELATIVE_ROUNDING * energy:
        return math.nan
    explained = 2.0 * (fitted.weight * moments.cross_scatter).sum()
    explained -= (fitted.weight @ moments.front_scatter * fitted.weight).sum()
    offset = moments.end_mean - fitted.weight @ moments.front_mean - fitted.bias
    return float((explained - moments.joint.n_samples * offset.square().sum()) / total)


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


class OutputComparison(NamedTuple):
    """How a stitched network's outputs compare with those of the network it ends in.

    Attributes:
        accuracy: Share of stimuli that the stitched network gets right.
        end_accuracy: Share that the end network gets right by itself.
        relative_accuracy: The former over the latter; NaN if the end network gets none right.
        agreement: Share of stimuli with equal predictions.
        cross_entropy: -sum p_end log p_stitched, mean over stimuli, in nats.
        kl_divergence: The cross-entropy less the entropy of the end network's outputs, in nats.
        n_both_right: Stimuli that both get right.
        n_stitched_right: Stimuli that the stitched network alone gets right.
        n_end_right: Stimuli that the end network alone gets right.
        n_both_wrong: Stimuli that neither gets right.
    """

    accuracy: float
    end_accuracy: float
    relative_accuracy: float
    agreement: float
    cross_entropy: float
    kl_divergence: float
    n_both_right: int
    n_stitched_right: int
    n_end_right: int
    n_both_wrong: int


def compare_outputs(stitched: Tensor, end: Tensor, labels: Tensor) -> OutputComparison:
    """Compare the logits of a stitched network with those of the network it ends in.

    Args:
        stitched: Shape (n_stimuli, n_classes).
        end: Shape (n_stimuli, n_classes), the same stimuli.
        labels: Class indices, (n_stimuli,).

    Returns:
        See :class:`OutputComparison`.

    Raises:
        ValueError: If shapes differ, there is no stimulus, or a logit is not finite.

    Source:
        Csiszárik et al. 2021, arXiv:2110.14633 (relative accuracy); cross-entropy summed, not averaged,
        over classes.
    """
    if stitched.shape != end.shape or stitched.ndim != 2 or labels.shape != end.shape[:1] or not len(end):
        raise ValueError(
            "outputs must have one shape (n_stimuli, n_classes) and a label for each stimulus, "
            f"got {tuple(stitched.shape)}, {tuple(end.shape)} and {tuple(labels.shape)}"
        )
    if not bool(torch.isfinite(stitched).all() and torch.isfinite(end).all()):
        raise ValueError("outputs must be finite, got NaN or infinity")
    log_stitched = stitched.to(torch.float64).log_softmax(dim=1)
    log_end = end.to(torch.float64).log_softmax(dim=1)
    cross_entropy = -(log_end.exp() * log_stitched).sum(dim=1).mean().item()
    entropy = -(log_end.exp() * log_end).sum(dim=1).mean().item()
    chosen, chosen_end = stitched.argmax(dim=1), end.argmax(dim=1)
    right, right_end = chosen == labels, chosen_end == labels
    n_right, n_right_end = int(right.sum()), int(right_end.sum())
    return OutputComparison(
        accuracy=n_right / len(end),
        end_accuracy=n_right_end / len(end),
        relative_accuracy=n_right / n_right_end if n_right_end else math.nan,
        agreement=int((chosen == chosen_end).sum()) / len(end),
        cross_entropy=cross_entropy,
        kl_divergence=cross_entropy - entropy,
        n_both_right=int((right & right_end).sum()),
        n_stitched_right=int((right & ~right_end).sum()),
        n_end_right=int((~right & right_end).sum()),
        n_both_wrong=int((~right & ~right_end).sum()),
    )


def _channel_scale(moments: PairedMoments) -> Tensor:
    """Return the root of each front channel's scatter; 0 if it is rounding relative to the energy."""
    scatter = moments.front_scatter.diagonal()
    energy = scatter + moments.joint.n_samples * moments.front_mean.square()
    return torch.where(scatter > SINGLE_ROUNDING * energy, scatter, torch.zeros_like(scatter)).sqrt()


def _require_samples(moments: PairedMoments) -> None:
    if moments.joint.n_samples == 0:
        raise ValueError("a map needs at least 1 sample, got 0")
