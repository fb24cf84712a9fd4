"""Noise ceiling across seeds: how similar can a model be to what its repeats have in common?

For measures that are inner products of prepared unit vectors (CKA, RSA Pearson and Spearman) the similarity
of a model with the mean of others needs only the similarity matrix, not the vectors.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class NoiseCeiling:
    """Bounds on the similarity with what repeats have in common, shape (..., n_groups).

    Attributes:
        lower: Mean similarity of each repeat with the mean of the others; NaN for groups of one.
        upper: Mean similarity of each repeat with the mean of all, itself included; NaN for groups of one.
        n_repeats: Models in the group, int64, shape (n_groups,).
    """

    lower: Tensor
    upper: Tensor
    n_repeats: Tensor


def estimate_noise_ceiling(similarities: Tensor, groups: Tensor) -> NoiseCeiling:
    """Bound what a perfect model of a group of repeats (seeds of one architecture and objective) could reach.

    The lower bound is below the truth, since the mean of few repeats is noisy; the upper is above it, since
    each repeat is in the mean. A mean of similarities between repeats is lower than both.

    Args:
        similarities: Similarity matrices, shape (..., n_models, n_models), symmetric, of a measure that is
            the cosine of prepared matrices (CKA, RSA Pearson or Spearman, not neighbour overlap or CCA), with
            computed diagonal.
        groups: Which models repeat each other, bool, shape (n_groups, n_models).

    Returns:
        Lower and upper bounds, float64, shape (..., n_groups), NaN for groups of fewer than two models, and
        where a similarity within the group is NaN or the mean of the group vanishes.

    Raises:
        ValueError: If shapes do not fit.

    Source: Nili et al. 2014, PLoS Comput Biol 10:e1003553 (bounds for RSA, after leave-one-out and pooled
        means).

    Example:
        >>> similarities = torch.tensor([[1.0, 0.5], [0.5, 1.0]])
        >>> found = estimate_noise_ceiling(similarities, torch.ones(1, 2, dtype=torch.bool))
        >>> round(found.lower.item(), 4), round(found.upper.item(), 4)
        (0.5, 0.866)
    """
    n_models = similarities.shape[-1]
    if similarities.shape[-2] != n_models or groups.shape[1:] != (n_models,) or groups.dtype != torch.bool:
        raise ValueError(
            f"groups must be bool of shape (n_groups, {n_models}) for similarities of shape "
            f"{tuple(similarities.shape)}, got {groups.dtype} of shape {tuple(groups.shape)}"
        )
    lower, upper = [], []
    for group in groups:
        within = similarities[..., group, :][..., group].double()
        n_repeats = within.shape[-1]
        with_all = within.sum(dim=-1)  # (..., n_repeats): inner product with the sum of all
        square = with_all.sum(dim=-1, keepdim=True)  # squared length of that sum
        selves = within.diagonal(dim1=-2, dim2=-1)
        length = selves.sqrt()
        others = square - 2 * with_all + selves
        upper.append(_mean_if_defined(with_all / (length * square.sqrt()), n_repeats))
        lower.append(_mean_if_defined((with_all - selves) / (length * others.sqrt()), n_repeats))
    return NoiseCeiling(torch.stack(lower, dim=-1), torch.stack(upper, dim=-1), groups.sum(dim=1))


def _mean_if_defined(values: Tensor, n_repeats: int) -> Tensor:
    if n_repeats < 2:
        return torch.full(values.shape[:-1], torch.nan, dtype=torch.float64, device=values.device)
    return torch.where(values.isfinite(), values, torch.nan).mean(dim=-1)
