"""Standard error of debiased linear CKA by leaving out each stimulus, without recomputation.

Leaving out stimulus i takes its row and column out of three sums: of products of entries, of products of row
sums, and of entries. All three changes follow from row i and the product of each matrix with the row sums of
the other, so that n values cost as much as one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from rep_kedro.kernels.statistics.centring import count_stimuli, scale_features

MIN_STIMULI = 5  # four must be left
MATRICES_PER_ROW = 10  # of n_models^2 numbers, for each stimulus of a block
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


def jackknife_linear_cka(representations: Sequence[Tensor], *, memory_bytes: int = 2**25) -> JackknifeCka:
    """Give debiased linear CKA of all model pairs a standard error over the choice of stimuli.

    Too small where the stimuli are not independent (frames of one film), and rough for models that are
    unrelated, as the leading term of the jackknife vanishes there; test those with a permutation null
    instead.

    Args:
        representations: One matrix per model, shape (n_stimuli, n_features_i), the same stimuli in the same
            order.
        memory_bytes: Bound for blocks of stimuli, one at least; changes speed, not the result. On top come
            one float64 copy of the features and some matrices of n_models^2 numbers.

    Returns:
        Estimates and standard errors; NaN where all stimuli of a model have the same features.

    Raises:
        ValueError: If there are fewer than five stimuli, or models have different numbers of stimuli.

    Cost: 2 * n_stimuli^2 * (sum of widths + n_models^2) operations.

    Source: Efron & Tibshirani 1993, chapter 11 (jackknife); Song et al. 2012, JMLR 13:1393, equation 5
        (HSIC).
    """
    estimate, blocks = _leave_out_each(representations, memory_bytes)
    n = len(representations[0])
    pull, square = torch.zeros_like(estimate), torch.zeros_like(estimate)
    for values in blocks:
        pull += (values - estimate).sum(dim=0)
        square += (values - estimate).square_().sum(dim=0)
    spread = (square - pull.square() / n).clamp_(min=0)
    return JackknifeCka(estimate=estimate, standard_error=spread.sqrt() * sqrt((n - 1) / n))


def _leave_out_each(representations: Sequence[Tensor], memory_bytes: int) -> tuple[Tensor, Iterator[Tensor]]:
    """Return CKA on all stimuli, and block by block that without each stimulus of the block."""
    n, n_models = count_stimuli(representations), len(representations)
    if n < MIN_STIMULI:
        raise ValueError(f"the jackknife of debiased CKA needs at least {MIN_STIMULI} stimuli, got {n}")
    units = [scale_features(x) for x in representations]
    # rows of a centred Gram matrix sum to zero, its diagonal is left out; shape (n_stimuli, n_models)
    row_sums = -torch.stack([x.square().sum(dim=1) for x in units], dim=1)
    bytes_per_row = 8 * n_models * (n + MATRICES_PER_ROW * n_models)
    step = max(1, memory_bytes // bytes_per_row)
    blocks = [slice(start, start + step) for start in range(0, n, step)]
    entries = row_sums.new_zeros(n_models, n_models)
    for rows in blocks:
        gram = _gram_rows(units, rows)
        entries += (gram @ gram.mT).sum(dim=0)
    products, totals = row_sums.T @ row_sums, row_sums.sum(dim=0)

    def leave_out(rows: slice) -> Tensor:
        gram, own = _gram_rows(units, rows), row_sums[rows]
        row_products = gram @ gram.mT
        carried = gram @ row_sums  # Gram matrix of model a (without diagonal) times the row sums of model b
        return _compare(
            entries - 2 * row_products,
            products - own[:, :, None] * own[:, None, :] - carried - carried.mT + row_products,
            totals - 2 * own,
            n - 1,
        )

    return _compare(entries, products, totals, n), (leave_out(rows) for rows in blocks)


def _compare(entries: Tensor, row_sum_products: Tensor, totals: Tensor, n: int) -> Tensor:
    """Return debiased CKA from sums over Gram matrices without diagonal, (..., n_models, n_models)."""
    hsic = entries - 2 / (n - 2) * row_sum_products
    hsic = hsic + totals[..., :, None] * totals[..., None, :] / ((n - 1) * (n - 2))
    hsic = (hsic + hsic.mT) / 2
    squares = hsic.diagonal(dim1=-2, dim2=-1)
    length = torch.where(squares > 0, squares, torch.nan).sqrt()
    return hsic / (length[..., :, None] * length[..., None, :])


def _gram_rows(units: Sequence[Tensor], rows: slice) -> Tensor:
    """Return some rows of all Gram matrices, diagonal left out, shape (n_rows, n_models, n_stimuli)."""
    block = torch.stack([x[rows] @ x.T for x in units], dim=1)
    block.diagonal(offset=rows.start, dim1=0, dim2=2).zero_()
    return block
