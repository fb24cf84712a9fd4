"""What the weight of a stitch may be: each form is one function from stacked parameters to weights."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor


def use_whole(parameters: Mapping[str, Tensor]) -> Tensor:
    """Return ``weight``, (k, n_end, n_front)."""
    return parameters["weight"]


def use_masked(parameters: Mapping[str, Tensor]) -> Tensor:
    """Return ``weight`` with the entries outside ``mask``, (k, n_end, n_front), at zero."""
    return parameters["weight"] * parameters["mask"]


def use_factors(parameters: Mapping[str, Tensor]) -> Tensor:
    """Return the products of ``left`` (k, n_end, rank) and ``right`` (k, rank, n_front)."""
    return torch.bmm(parameters["left"], parameters["right"])


FORMS: dict[str, Callable[[Mapping[str, Tensor]], Tensor]] = {
    "full": use_whole,
    "masked": use_masked,
    "low_rank": use_factors,
}
CONSTANTS = frozenset({"mask"})
"""Parameters that are not trained."""
