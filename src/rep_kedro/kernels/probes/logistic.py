"""One logistic regression at a time, with scikit-learn's objective, for thousands of probes one by one.

``lbfgs.py`` fits many weight decays at once in float64; this fits a single one in the features' own type,
with SciPy's L-BFGS-B and torch's products, and is the faster of the two where there is one penalty.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rep_kedro.kernels.probes.probe import require_labels


class Logistic(NamedTuple):
    """A fitted regression.

    Attributes:
        weights: Shape (n_features + 1, n_classes), float64; the last row is the bias.
        loss: Mean cross-entropy plus the penalty, in nats.
        gradient_size: Largest element of its gradient.
        converged: Whether that is at most the tolerance.
        n_iterations: Steps taken.
    """

    weights: Tensor
    loss: float
    gradient_size: float
    converged: bool
    n_iterations: int


def fit_logistic(
    x: Tensor,
    labels: Tensor,
    *,
    n_classes: int,
    c: float = 1.0,
    tolerance: float = 1e-4,
    max_iterations: int = 100,
) -> Logistic:
    """Fit a multinomial logistic regression.

    Minimises C * sum of cross-entropies + |W|^2 / 2, divided by C * n_samples; the bias is not penalised.

    Args:
        x: Features, (n_samples, n_features), float32 or float64; products are computed in their type, sums of
            losses in float64.
        labels: Class indices, (n_samples,).
        n_classes: Number of classes, at least 2.
        c: Inverse penalty C, above 0.
        tolerance: Of the largest element of the gradient.
        max_iterations: Steps after which it stops.

    Raises:
        ValueError: If labels do not fit, C is not above 0 or a feature is not finite.

    Cost:
        About 2 * n_samples * n_features * n_classes multiply-adds for each step.

    Source:
        scikit-learn's LogisticRegression (solver ``lbfgs``), whose objective, start and stopping rule these
        are; Zhu, Byrd, Lu & Nocedal 1997, doi:10.1145/279232.279236.
    """
    from scipy.optimize import minimize

    require_labels(labels, n_classes=n_classes, n_samples=len(x))
    if c <= 0.0:
        raise ValueError(f"C must be above 0, got {c}")
    if not all(bool(torch.isfinite(end)) for end in x.aminmax()):  # one pass; NaN is both ends
        raise ValueError("features of a logistic regression must be finite, got NaN or infinity")
    # Class by class: products of few rows with x are three times as fast as with x and few columns.
    shape = (n_classes, x.shape[1] + 1)
    target = labels.to(x.device)[None]
    penalty = 1.0 / (c * len(x))

    def evaluate(flat: "np.ndarray[Any, Any]") -> "tuple[float, np.ndarray[Any, Any]]":
        weights = torch.from_numpy(flat).view(shape)
        there = weights.to(x)
        logits = (there[:, :-1].contiguous() @ x.T).add_(there[:, -1:])
        logarithms = logits.log_softmax(dim=0)
        loss = -logarithms.gather(0, target).mean(dtype=torch.float64)
        minus_one = logarithms.new_full((), -1.0).expand(target.shape)
        residual = logarithms.exp_().scatter_add_(0, target, minus_one).div_(len(x))
        slope = torch.cat([residual @ x, residual.sum(dim=1, keepdim=True)], dim=1).double().cpu()
        slope[:, :-1] += penalty * weights[:, :-1]
        size = loss.item() + 0.5 * penalty * weights[:, :-1].square().sum().item()
        return size, slope.flatten().numpy()

    found = minimize(
        evaluate,
        np.zeros(shape[0] * shape[1]),
        jac=True,
        method="L-BFGS-B",
        options={
            "gtol": tolerance,
            "maxiter": max_iterations,
            "maxls": 50,
            "ftol": 64 * np.finfo(np.float64).eps,
        },
    )
    size = float(np.abs(found.jac).max())
    return Logistic(
        torch.from_numpy(found.x).view(shape).T, float(found.fun), size, size <= tolerance, int(found.nit)
    )
