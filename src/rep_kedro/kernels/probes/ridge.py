"""Linear probes by least squares: one decomposition of the features serves all weight decays."""

from collections.abc import Sequence

import torch
from torch import Tensor


def fit_probes_ridge(
    x: Tensor, targets: Tensor, *, weight_decays: Sequence[float], sample_weights: Tensor | None = None
) -> Tensor:
    """Fit a ridge regression from features to targets for every weight decay.

    Minimises the mean over samples of |y - W'x - b|^2, plus weight_decay * |W|^2; the bias is not penalised.
    With n samples this is scikit-learn's Ridge with alpha = n * weight_decay. In the basis of the features'
    own covariance (or of the samples' products, where these are fewer) every weight decay is a division.

    Args:
        x: Features, (n_samples, n_features).
        targets: One column for each class, (n_samples, n_classes): 1 for the classes of a sample, else 0.
        weight_decays: Penalties, all above zero.
        sample_weights: Of each sample in the mean, (n_samples,), above zero; None weighs all equally.

    Returns:
        Weights (n_decays, n_features + 1, n_classes), float64; the last row is the bias.

    Raises:
        ValueError: If shapes do not fit, a value is not finite, or a weight decay is not above zero.

    Cost:
        n_samples * n_features * min(n_samples, n_features) multiply-adds once; for each decay
        n_features * min(n_samples, n_features) * n_classes.

    Source:
        Hoerl & Kennard 1970, doi:10.1080/00401706.1970.10488634; Hastie, Tibshirani & Friedman 2009, The
        Elements of Statistical Learning, section 3.4.1.

    Example:
        >>> x = torch.tensor([[-2.0], [2.0]])
        >>> fit_probes_ridge(x, torch.eye(2), weight_decays=[4.0])[0].round(decimals=6).tolist()
        [[-0.125, 0.125], [0.5, 0.5]]
    """
    if x.ndim != 2 or targets.ndim != 2 or len(x) != len(targets) or len(x) == 0:
        raise ValueError(f"features and targets must be matrices of the same samples, got {tuple(x.shape)}"
                         f" and {tuple(targets.shape)}")  # fmt: skip
    if not weight_decays or min(weight_decays) <= 0.0:
        raise ValueError(f"weight decays of a ridge probe must be above 0, got {list(weight_decays)}")
    if not bool(torch.isfinite(x).all()):
        raise ValueError("features of a ridge probe must be finite, got NaN or infinity")
    wide, y = x.double(), targets.to(x.device, torch.float64)
    if sample_weights is None:
        mean_x, mean_y = wide.mean(dim=0), y.mean(dim=0)
        centred, y = wide - mean_x, y - mean_y
        total = float(len(x))
    else:
        share = sample_weights.to(wide)[:, None]
        total = share.sum().item()
        mean_x, mean_y = (share * wide).sum(dim=0) / total, (share * y).sum(dim=0) / total
        centred, y = share.sqrt() * (wide - mean_x), share.sqrt() * (y - mean_y)
    decays = total * torch.tensor(weight_decays, dtype=torch.float64, device=x.device)
    if x.shape[1] <= len(x):
        values, basis = torch.linalg.eigh(centred.T @ centred)
        projected, back = basis.T @ (centred.T @ y), basis
    else:
        values, basis = torch.linalg.eigh(centred @ centred.T)
        projected, back = basis.T @ y, centred.T @ basis
    shrunk = projected[:, None, :] / (values.clamp(min=0.0)[:, None, None] + decays[:, None])
    weight = (back @ shrunk.flatten(1)).view(-1, len(decays), y.shape[1]).transpose(0, 1)
    bias = mean_y - torch.einsum("f,kfc->kc", mean_x, weight)
    return torch.cat([weight, bias[:, None]], dim=1)
