"""Cosines between the matrices of models, and reasons for undefined ones."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from rep_kedro.kernels.similarity.centred import CentredFeatures
from rep_kedro.kernels.undefined import Reasons, pair_reasons


def cosines(
    products: Tensor, rounding: Tensor, flaws: Mapping[int, str], *, if_zero: str
) -> tuple[Tensor, Reasons]:
    """Divide inner products by the norms on their diagonal.

    Args:
        products: Inner products, shape (n_models, n_models), float64.
        rounding: A squared norm not larger than this is zero, shape (n_models,).
        flaws: Why a model cannot be compared, by model.
        if_zero: What it means that a model's norm is zero.

    Returns:
        Cosines, NaN in the rows and columns of flawed models; and a reason for each NaN.
    """
    squared = products.diagonal().clone()
    zero = {int(m): if_zero for m in (squared <= rounding).nonzero().flatten()}
    why = zero | dict(flaws)
    squared[list(why)] = torch.nan
    values = (products + products.T) / 2 / torch.outer(squared, squared).sqrt()
    return values, pair_reasons(why, len(values))


def flaws_of(models: Sequence[CentredFeatures]) -> dict[int, str]:
    """Collect why models cannot be compared, by model."""
    return {index: m.flaw for index, m in enumerate(models) if m.flaw is not None}
