"""Stimuli of which a model has no direction: all features zero, or for correlations all equal."""

import torch
from torch import Tensor

from rep_kedro.kernels.similarity.centred import smallest_spread

ROWS_PER_BLOCK = 256


def find_flat(representation: Tensor, *, centred: bool) -> Tensor:
    """Return which stimuli have no length, up to rounding of their numbers.

    Args:
        representation: Shape (n_stimuli, n_features), float32 or float64.
        centred: Whether the mean of a stimulus's features is taken off first, as correlations do.

    Returns:
        True for these stimuli, shape (n_stimuli,), bool.
    """
    flat = torch.empty(len(representation), dtype=torch.bool, device=representation.device)
    for start in range(0, len(representation), ROWS_PER_BLOCK):
        rows = slice(start, start + ROWS_PER_BLOCK)
        block = representation[rows].double()
        block = block / block.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
        raw = torch.linalg.vector_norm(block, dim=1)
        if centred:
            block = block - block.mean(dim=1, keepdim=True)
        flat[rows] = torch.linalg.vector_norm(block, dim=1) <= smallest_spread(representation.dtype) * raw
    return flat
