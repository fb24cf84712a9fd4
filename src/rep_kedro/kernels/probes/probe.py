"""Shared parts of probes: standardisation, a held-out part, accuracy, intervals, a choice of decay.

The fits themselves are in one module for each solver (``solvers.py`` lists them).
"""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import torch
from torch import Tensor

RELATIVE_ROUNDING = {torch.float64: 1e-14}  # a spread this small relative to the mean is noise
SHORTER_ROUNDING = 1e-7  # the same of float32 and shorter numbers
LARGEST_EXPONENT = 1000  # of a scale to which features are brought


class NothingToHoldOutError(ValueError):
    """Every class is so small that the held-out fraction of it rounds to no sample."""


class Standardisation(NamedTuple):
    """Mean and scale of each feature, (n_features,), float64; scale 0 marks a constant feature."""

    mean: Tensor
    scale: Tensor

    @classmethod
    def of_spread(cls, mean: Tensor, spread: Tensor, dtype: torch.dtype) -> "Standardisation":
        """Return it from float64 mean and standard deviation of features of a type.

        A spread within the rounding of that type is none.
        """
        rounding = RELATIVE_ROUNDING.get(dtype, SHORTER_ROUNDING)
        return cls(mean, spread.masked_fill(spread <= rounding * mean.abs(), 0.0))

    def apply(self, x: Tensor) -> Tensor:
        """Return standardised features, float64; constant features become 0."""
        inverse = torch.where(self.scale > 0.0, 1.0 / self.scale, torch.zeros_like(self.scale))
        return (x.to(torch.float64) - self.mean) * inverse


def fit_standardisation(x: Tensor) -> Standardisation:
    """Return what brings each feature to mean 0 and standard deviation 1 (population).

    Args:
        x: Training features, shape (n_samples, n_features), at least one sample; test features must not
            take part.

    Returns:
        Mean and scale, computed in float64 at any scale and offset; a feature that does not vary beyond the
        rounding of its type (1e-7 of its mean in float32, 1e-14 in float64) gets scale 0 and is left out.

    Raises:
        ValueError: If there is no sample, or a value is not finite.
    """
    if x.ndim != 2 or len(x) == 0:
        raise ValueError(f"features must have shape (n_samples, n_features), got {tuple(x.shape)}")
    if not bool(torch.isfinite(x).all()):
        raise ValueError("features to standardise must be finite, got NaN or infinity")
    mean = x.to(torch.float64).mean(dim=0)
    if not bool(torch.isfinite(mean).all()):
        raise ValueError("features to standardise are so large that their sum is infinite")
    away = x.to(torch.float64) - mean
    largest = torch.maximum(away.amax(dim=0), -away.amin(dim=0))
    exponent = largest.frexp().exponent.clamp(-LARGEST_EXPONENT, LARGEST_EXPONENT)
    away *= torch.ldexp(torch.ones_like(mean), -exponent)  # costs no digit, and squares stay in range
    spread = torch.ldexp(away.square_().mean(dim=0).sqrt(), exponent)
    return Standardisation.of_spread(mean, spread, x.dtype)


def draw_held_out(labels: Tensor, *, fraction: float, generator: torch.Generator) -> Tensor:
    """Draw a stratified part of the samples.

    Args:
        labels: Class indices, shape (n_samples,); of samples with several classes, (n_samples, n_classes),
            the part is not stratified.
        fraction: Share to hold out of each class, below 1; rounded to whole samples, and at least one sample
            of each class stays in.
        generator: Source of chance, on the CPU.

    Returns:
        True for held-out samples, shape (n_samples,).

    Raises:
        NothingToHoldOutError: If every class is too small, or the fraction is 0.
        ValueError: If the fraction is not allowed.
    """
    if not 0.0 <= fraction < 1.0:
        raise ValueError(f"the held-out fraction must be from 0 to below 1, got {fraction}")
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    if labels.ndim == 2:
        labels = torch.zeros(len(labels), dtype=torch.int64)
    for label in torch.unique(labels).tolist():
        members = (labels == label).nonzero().flatten().cpu()
        n_held_out = min(round(fraction * len(members)), len(members) - 1)
        chosen = torch.randperm(len(members), generator=generator)[:n_held_out]
        held_out[members[chosen]] = True
    if not bool(held_out.any()):
        raise NothingToHoldOutError(
            f"nothing to hold out: {fraction} of each class rounds to no sample ({len(labels)} samples)"
        )
    return held_out


def balance_classes(labels: Tensor, n_classes: int) -> Tensor:
    """Return the weight of each class's samples with which all classes count equally: n / (n_classes * n_c).

    Args:
        labels: Class indices, (n_samples,).
        n_classes: How many there are; those without samples get weight 1, which nothing uses.

    Returns:
        Shape (n_classes,), float64.
    """
    n_members = torch.bincount(labels, minlength=n_classes)
    n_there = int((n_members > 0).sum())
    weights = len(labels) / (n_there * n_members.clamp(min=1).to(torch.float64))
    return weights.masked_fill(n_members == 0, 1.0)


def bound_mean(values: Sequence[float], *, confidence: float = 0.95) -> tuple[float, float]:
    """Return the ends of Student's interval of the mean of independent values, at least two.

    Example:
        >>> [round(end, 3) for end in bound_mean([0.5, 0.6, 0.7])]
        [0.352, 0.848]
    """
    from scipy.stats import t

    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    half = float(t.ppf((1 + confidence) / 2, len(values) - 1)) * math.sqrt(variance / len(values))
    return mean - half, mean + half


def bound_share(share: float, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return the ends of Wilson's interval of a share that was counted in a sample.

    Args:
        share: In [0, 1].
        n: Size of the sample, at least 1; its members are independent.
        confidence: Nominal coverage, above 0 and below 1.

    Source: Wilson 1927, J Am Stat Assoc 22:209; Brown, Cai & DasGupta 2001, Stat Sci 16:101.

    Example:
        >>> [round(end, 4) for end in bound_share(0.5, 30)], bound_share(1.0, 30)[1]
        ([0.3315, 0.6685], 1.0)
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def measure_accuracy(predictions: Tensor, labels: Tensor) -> Tensor:
    """Return the share of samples whose class is hit.

    Args:
        predictions: Class indices, shape (..., n_samples).
        labels: True class indices, shape (n_samples,), at least one.

    Returns:
        Shape (...), float64, 0 to 1.

    Raises:
        ValueError: If there is no sample.
    """
    if labels.numel() == 0:
        raise ValueError("an accuracy needs at least 1 sample, got 0")
    return (predictions == labels).to(torch.float64).mean(dim=-1)


def measure_balanced_accuracy(predictions: Tensor, labels: Tensor) -> Tensor:
    """Return the mean over the classes that occur of the share of each class that is hit.

    Args, Returns, Raises: as :func:`measure_accuracy`.
    """
    if labels.numel() == 0:
        raise ValueError("an accuracy needs at least 1 sample, got 0")
    recalls = [
        measure_accuracy(predictions[..., labels == label], labels[labels == label])
        for label in torch.unique(labels).tolist()
    ]
    return torch.stack(recalls, dim=-1).mean(dim=-1)


def select_weight_decay(accuracies: Sequence[float], weight_decays: Sequence[float]) -> int:
    """Return the position of the weight decay with the best held-out accuracy; ties go to the larger decay.

    Raises:
        ValueError: If lengths differ, nothing is given, or an accuracy is NaN.

    Example:
        >>> select_weight_decay([0.8, 0.9, 0.9], [0.001, 0.01, 0.1])
        2
    """
    if len(accuracies) != len(weight_decays) or not accuracies:
        raise ValueError(
            f"each weight decay needs one accuracy, got {len(accuracies)} for {len(weight_decays)} of them"
        )
    if any(math.isnan(accuracy) for accuracy in accuracies):
        raise ValueError("held-out accuracies must be numbers, got NaN")
    return max(range(len(accuracies)), key=lambda i: (accuracies[i], weight_decays[i]))


def require_labels(labels: Tensor, *, n_classes: int, n_samples: int) -> None:
    """Raise ValueError unless labels are class indices, one for each sample, of at least 2 classes.

    Labels of shape (n_samples, n_classes) say which classes a sample has, by 0 and 1.
    """
    if n_classes < 2:
        raise ValueError(f"a probe needs at least 2 classes, got {n_classes}")
    if labels.shape == (n_samples, n_classes) and n_samples > 0:
        if not bool(((labels == 0) | (labels == 1)).all()):
            raise ValueError("labels of several classes must be 0 or 1")
        return
    if labels.shape != (n_samples,) or n_samples == 0:
        raise ValueError(f"labels must have shape ({n_samples},) and not be empty, got {tuple(labels.shape)}")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= n_classes:
        raise ValueError(f"labels must be between 0 and {n_classes - 1}, got {low} to {high}")
