"""Standard error of debiased linear CKA from leaving out each stimulus, without starting afresh.

Leaving out stimulus i takes its row and column out of three sums: of products of entries, of products of row
sums, and of entries. All three changes follow from row i and the product of each matrix with the row sums of
the other, so that n values cost as much as one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from rep_kedro.kernels.centring import count_stimuli, scale_features

MIN_STIMULI = 5  # four must be left
ROUNDING = (
    64 * torch.finfo(torch.float64).eps
) ** 2  # share of the raw energy that centring leaves by rounding


@dataclass(frozen=True)
class JackknifeCka:
    """Debiased linear CKA with standard errors; both float64, shape (n_models, n_models), symmetric.

    Attributes:
        estimate: CKA on all stimuli.
        standard_error: Jackknife standard error for another draw of stimuli; 0 on the diagonal up to
            rounding.
    """

    estimate: Tensor
    standard_error: Tensor


def jackknife_linear_cka(representations: Sequence[Tensor], *, rows_per_block: int = 256) -> JackknifeCka:
    """Give debiased linear CKA of all model pairs a standard error over the choice of stimuli.

    Too small where the stimuli are not independent (frames of one film), and rough for models that are
    unrelated, as the leading term of the jackknife vanishes there; test those with a permutation null
    instead.

    Args:
        representations: One matrix per model, shape (n_stimuli, n_features_i), the same stimuli in the same
            order.
        rows_per_block: Gram rows in memory per model; changes memory and speed, not the result.

    Returns:
        Estimates and standard errors; NaN where all stimuli of a model have the same features.

    Raises:
        ValueError: If there are fewer than five stimuli, or models hold other numbers of stimuli.

    Cost: n_stimuli^2 * (sum of widths + n_models^2) operations; n_models^2 * n_stimuli numbers are kept.

    Source: Efron & Tibshirani 1993, chapter 11 (jackknife); Song et al. 2012, JMLR 13:1393, equation 5
        (HSIC).
    """
    values, estimate = leave_one_out_linear_cka(representations, rows_per_block=rows_per_block)
    n = len(values)
    spread = (values - values.mean(dim=0)).square().sum(dim=0)
    return JackknifeCka(estimate=estimate, standard_error=spread.sqrt() * sqrt((n - 1) / n))


def leave_one_out_linear_cka(
    representations: Sequence[Tensor], *, rows_per_block: int = 256
) -> tuple[Tensor, Tensor]:
    """Return debiased linear CKA without each stimulus in turn, and with all.

    Stimulus i's pull on a value is the estimate less the value without it: large for outliers.

    Args:
        representations: One matrix per model, shape (n_stimuli, n_features_i), the same stimuli in the same
            order.
        rows_per_block: Gram rows in memory per model; changes memory and speed, not the result.

    Returns:
        Values without stimulus i, float64, shape (n_stimuli, n_models, n_models), and on all, (n_models,
        n_models).

    Raises:
        ValueError: If there are fewer than five stimuli, or models hold other numbers of stimuli.
    """
    n = count_stimuli(representations)
    if n < MIN_STIMULI:
        raise ValueError(f"the jackknife of debiased CKA needs at least {MIN_STIMULI} stimuli, got {n}")
    units = [scale_features(x) for x in representations]
    norms = torch.stack([x.square().sum(dim=1) for x in units], dim=1)  # (n_stimuli, n_models)
    row_sums = -norms  # rows of a centred Gram matrix sum to zero, its diagonal is left out

    row_products = _sum_row_products(units, rows_per_block)  # (n_stimuli, n_models, n_models)
    # Gram matrix of model a (without diagonal) times the row sums of model b
    carried = torch.stack(
        [x @ (x.T @ row_sums) - x.square().sum(dim=1)[:, None] * row_sums for x in units], dim=1
    )

    entries = row_products.sum(dim=0)
    row_sum_products = row_sums.T @ row_sums
    totals = row_sums.sum(dim=0)
    estimate = _compare(entries, row_sum_products, totals, n)
    own = row_sums[:, :, None] * row_sums[:, None, :]
    values = _compare(
        entries - 2 * row_products,
        row_sum_products - own - carried - carried.mT + row_products,
        totals - 2 * row_sums,
        n - 1,
    )
    return values, estimate


def _compare(entries: Tensor, row_sum_products: Tensor, totals: Tensor, n: int) -> Tensor:
    """Return debiased CKA from sums over Gram matrices without diagonal, (..., n_models, n_models)."""
    hsic = entries - 2 / (n - 2) * row_sum_products
    hsic = hsic + totals[..., :, None] * totals[..., None, :] / ((n - 1) * (n - 2))
    hsic = (hsic + hsic.mT) / 2
    squares = hsic.diagonal(dim1=-2, dim2=-1)
    length = torch.where(squares > 0, squares, torch.nan).sqrt()
    return hsic / (length[..., :, None] * length[..., None, :])


def _sum_row_products(units: Sequence[Tensor], rows_per_block: int) -> Tensor:
    """Sum over each row the products of two models' Gram entries, diagonal left out."""
    found = []
    for start in range(0, len(units[0]), rows_per_block):
        rows = slice(start, start + rows_per_block)
        block = torch.stack([x[rows] @ x.T for x in units], dim=1)  # (n_rows, n_models, n_stimuli)
        block.diagonal(offset=start, dim1=0, dim2=2).zero_()
        found.append(block @ block.mT)
    return torch.cat(found)
