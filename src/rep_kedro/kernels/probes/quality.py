"""How good predictions are beyond their accuracy: top k, calibration, average precision."""

from typing import NamedTuple

import torch
from torch import Tensor

N_BINS = 15


def measure_top_k(logits: Tensor, labels: Tensor, *, k: int) -> float:
    """Return the share of samples whose class is among the k with the largest logits.

    Args:
        logits: Shape (n_samples, n_classes); of equal ones the lower class counts as larger.
        labels: Class indices, (n_samples,); or which classes each sample has, (n_samples, n_classes), 0 or 1:
            then one of them among the k is a hit.
        k: At least 1, and below the number of classes (with all of them there is nothing to miss).

    Raises:
        ValueError: If there is no sample, or k is not allowed.
    """
    if len(logits) == 0:
        raise ValueError("an accuracy needs at least 1 sample, got 0")
    if not 1 <= k < logits.shape[1]:
        raise ValueError(f"k must be from 1 to {logits.shape[1] - 1}, got {k}")
    first = logits.argsort(dim=1, descending=True, stable=True)[:, :k]
    hit = first == labels[:, None] if labels.ndim == 1 else labels.gather(1, first) > 0
    return hit.any(dim=1).to(torch.float64).mean().item()


def measure_calibration_error(probabilities: Tensor, labels: Tensor, *, n_bins: int = N_BINS) -> float:
    """Return the expected calibration error of the predicted classes.

    Samples are put into bins of equal width by the probability of the class that is predicted, the
    confidence: bin b holds those in ((b - 1) / n_bins, b / n_bins]. The error is the mean over samples of
    |accuracy - confidence| of their bin, 0 for a perfectly calibrated classifier, at most 1. It depends on
    the number of bins, and is biased upwards for few samples.

    Args:
        probabilities: Shape (n_samples, n_classes), rows sum to 1.
        labels: Class indices, (n_samples,).
        n_bins: Number of bins.

    Raises:
        ValueError: If there is no sample.

    Source:
        Naeini, Cooper & Hauskrecht 2015, doi:10.1609/aaai.v29i1.9602; Guo et al. 2017, arXiv:1706.04599,
        equation 3, with its 15 bins.
    """
    if len(labels) == 0:
        raise ValueError("a calibration error needs at least 1 sample, got 0")
    confidence, predicted = probabilities.to(torch.float64).max(dim=1)
    hit = (predicted == labels).to(torch.float64)
    place = (confidence * n_bins).ceil().long().clamp(1, n_bins) - 1
    apart = torch.zeros(n_bins, dtype=torch.float64).index_add_(0, place, hit - confidence)
    return apart.abs().sum().item() / len(labels)


class AveragePrecision(NamedTuple):
    """Average precision of each class.

    Attributes:
        of_classes: Shape (n_classes,), float64; NaN where no sample has the class.
        mean: Over the classes that occur.
    """

    of_classes: Tensor
    mean: float


def measure_average_precision(logits: Tensor, labels: Tensor) -> AveragePrecision:
    """Return how well the logits of each class rank the samples that have it before the others.

    The average precision of a class is the mean, over the samples that have it, of the share of samples
    with at least their logit that have it too; equal logits count together.

    Args:
        logits: Shape (n_samples, n_classes).
        labels: Which classes each sample has, (n_samples, n_classes), 0 or 1.

    Raises:
        ValueError: If no sample has a class.

    Source:
        Manning, Raghavan & Schütze 2008, Introduction to Information Retrieval, section 8.4 (the
        uninterpolated one, as scikit-learn's average_precision_score).

    Example:
        >>> logits = torch.tensor([[3.0], [2.0], [1.0]])
        >>> measure_average_precision(logits, torch.tensor([[1], [0], [1]])).mean
        0.8333333333333333
    """
    n_members = labels.sum(dim=0)
    if not bool((n_members > 0).any()):
        raise ValueError("an average precision needs a sample with a class, got none")
    order = logits.argsort(dim=0, descending=True, stable=True)
    ranked, has = logits.gather(0, order), labels.gather(0, order).to(torch.float64)
    n_samples = len(logits)
    places = torch.arange(1, n_samples + 1, device=logits.device, dtype=torch.float64)[:, None]
    is_last = torch.ones_like(has, dtype=torch.bool)  # of those with an equal logit
    is_last[:-1] = ranked[:-1] != ranked[1:]
    precision = has.cumsum(dim=0) / places
    # each sample takes the precision at the last of its equals, which comes at or after it
    last = torch.where(is_last, places - 1, float("inf")).flip(0).cummin(dim=0).values.flip(0).long()
    of_classes = (precision.gather(0, last) * has).sum(dim=0) / n_members
    return AveragePrecision(of_classes, of_classes[n_members > 0].mean().item())
