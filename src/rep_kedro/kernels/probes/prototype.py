"""The nearest class mean as a linear probe."""

import torch
from torch import Tensor


def fit_prototypes(x: Tensor, targets: Tensor) -> Tensor:
    """Return the weights of the classifier that picks the nearest class mean.

    The negative half squared distance to a mean m is x'm - |m|^2 / 2, up to what all classes share, so that
    means are weights and the bias is -|m|^2 / 2. Its softmax is the probability of classes of equal size
    that are Gaussian with unit covariance. A class without samples is never picked: its bias is the lowest
    number that float32 has.

    Args:
        x: Features, (n_samples, n_features).
        targets: Which classes a sample has, (n_samples, n_classes), 0 or 1.

    Returns:
        Weights (n_features + 1, n_classes), float64; the last row is the bias.

    Raises:
        ValueError: If shapes do not fit.

    Source:
        Snell, Swersky & Zemel 2017, arXiv:1703.05175, equation 1; Hastie, Tibshirani & Friedman 2009, The
        Elements of Statistical Learning, section 4.3 (linear discriminants).

    Example:
        >>> classes = torch.tensor([[1, 0], [1, 0], [0, 1]])
        >>> fit_prototypes(torch.tensor([[0.0], [2.0], [4.0]]), classes).tolist()
        [[1.0, 4.0], [-0.5, -8.0]]
    """
    if x.ndim != 2 or targets.ndim != 2 or len(x) != len(targets):
        raise ValueError(f"features and targets must be matrices of the same samples, got {tuple(x.shape)}"
                         f" and {tuple(targets.shape)}")  # fmt: skip
    y = targets.to(x.device, torch.float64)
    n_members = y.sum(dim=0)
    means = (x.double().T @ y) / n_members.clamp(min=1.0)
    bias = (-0.5 * means.square().sum(dim=0)).masked_fill(n_members == 0, torch.finfo(torch.float32).min)
    return torch.cat([means, bias[None]])
