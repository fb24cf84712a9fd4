"""Held-out errors of ridge regressions from one model to all models, of all strengths from one decomposition.

On the eigenvectors of its training features a predictor needs one product with the features of all other
models; each strength of the penalty then only weighs the rows of that product.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from rep_kedro.kernels.similarity.held_out import (
    DOUBLE_BYTES,
    Fold,
    add_predictions,
    group_columns,
    sum_by_model,
)

RIDGES = tuple(10.0**exponent for exponent in range(-6, 2))  # as shares of the predictor's total variance
NEGLIGIBLE = 1e-14  # a share of the largest variance; the weakest ridge shrinks such a direction to nothing
COPIES = 4  # the product with the targets, its square, and its weighted copy
STRENGTHS = ("joint", "each")


def add_ridge_errors(fold: Fold, model: int, errors: Mapping[str, Tensor], *, memory_bytes: int) -> None:
    """Add the squared errors of predicting all models from one on the stimuli of a fold.

    The strength of the penalty is the one of ``RIDGES`` with the least generalised cross-validation error on
    the stimuli outside the fold: ``joint``, one for all features of a model, or ``each``, one for each
    feature. The intercept is not penalised, and counts as one degree of freedom.

    Args:
        fold: One fold of the features of all models.
        model: The predictor.
        errors: By a way to choose the strength: sums of ``add_predictions``, whose row ``model`` is added to.
        memory_bytes: Bound for the products in memory, one target at least.

    Cost:
        Time O(n_training * rank * sum of widths), after one eigendecomposition of the smaller side.

    Source:
        Golub, Heath & Wahba 1979, doi:10.1080/00401706.1979.10489751, equation 1.4.
    """
    directions, coordinates, variances = _decompose(fold, fold.stack.columns[model])
    penalties = variances.sum() * torch.tensor(RIDGES, dtype=torch.float64, device=variances.device)
    lost = penalties / (variances[:, None] + penalties)  # of each direction under each strength
    freedom = fold.n_training - 1 - len(variances) + lost.sum(dim=0)
    columns = fold.stack.columns
    bytes_per_column = COPIES * DOUBLE_BYTES * (len(variances) + len(coordinates) + len(RIDGES))
    for models in group_columns(columns, bytes_per_column, memory_bytes):
        chunk = slice(columns[models[0]].start, columns[models[-1]].stop)
        own = [slice(columns[m].start - chunk.start, columns[m].stop - chunk.start) for m in models]
        products = fold.project(directions, chunk)
        unexplained = fold.energy[chunk] - (1 - lost.square()).T @ products.square()
        observed = fold.held_out(chunk)
        for how, sums in errors.items():
            chosen = _choose(unexplained, freedom, own, how)
            predicted = coordinates @ (products * (1 - lost)[:, chosen])
            add_predictions(sums, model, chunk, observed, predicted)


def _decompose(fold: Fold, columns: slice) -> tuple[Tensor, Tensor, Tensor]:
    """Return directions of training stimuli, coordinates of held-out stimuli along them, and variances."""
    x = fold.training(columns)
    if x.shape[1] < len(x):
        variances, axes = _eigenvectors(x.T @ x)
        directions = x @ axes / variances.sqrt()
    else:
        variances, directions = _eigenvectors(x @ x.T)
        axes = x.T @ directions / variances.sqrt()
    return directions, fold.held_out(columns) @ axes / variances.sqrt(), variances


def _eigenvectors(gram: Tensor) -> tuple[Tensor, Tensor]:
    eigenvalues, eigenvectors = torch.linalg.eigh(gram)
    kept = eigenvalues > max(0.0, NEGLIGIBLE * float(eigenvalues[-1]))
    return eigenvalues[kept], eigenvectors[:, kept]


def _choose(unexplained: Tensor, freedom: Tensor, columns: Sequence[slice], how: str) -> Tensor:
    """Return for each feature the place of its strength, shape (n_features,); of equals the weakest."""
    if how == "each":
        return (unexplained.clamp(min=0) / freedom.square()[:, None]).argmin(dim=0)
    together = sum_by_model(unexplained, columns).clamp(min=0) / freedom.square()[:, None]
    widths = torch.tensor([own.stop - own.start for own in columns], device=freedom.device)
    return together.argmin(dim=0).repeat_interleave(widths)
