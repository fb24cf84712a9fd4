"""Activations of more values than stimuli, in as many coordinates as the stimuli span."""

import torch
from torch import Tensor

_FLOAT64_BYTES = 8
_SHARE_OF_BLOCKS = 4  # a block of columns takes a quarter of the memory given


def compact_features(features: Tensor, *, memory_bytes: int) -> Tensor:
    """Return fewer features with the inner products of the centred ones: rotations of one another.

    What depends on centred features up to a rotation, such as linear CKA, SVCCA and Procrustes, is equal on
    both, up to rounding.

    Args:
        features: Shape (n_stimuli, n_features), any float type; may be mapped from a file.
        memory_bytes: Of columns in float64 at a time. Changes memory, not the result beyond rounding.

    Returns:
        Shape (n_stimuli, rank), float64, rank at most n_stimuli - 1; one column of zeros where stimuli differ
        by no more than the rounding of float32.

    Raises:
        ValueError: If a number is not finite.

    Cost:
        Time O(n_stimuli^2 * (n_features + n_stimuli)); memory of some n_stimuli^2 numbers, and of the block.
    """
    n, width = features.shape
    step = max(1, memory_bytes // (_SHARE_OF_BLOCKS * _FLOAT64_BYTES * n))
    gram, energy = torch.zeros(n, n, dtype=torch.float64), 0.0
    for start in range(0, width, step):
        block = features[:, start : start + step].to(torch.float64)
        energy += float(block.square().sum())
        block = block - block.mean(dim=0)
        gram.addmm_(block, block.T)
    if not bool(torch.isfinite(gram).all()):
        raise ValueError("activations must be finite to be compared, got NaN or infinity")
    if float(gram.trace()) <= torch.finfo(torch.float32).eps ** 2 * energy:
        return torch.zeros_like(gram[:, :1])
    values, vectors = torch.linalg.eigh(gram)
    kept = values > n * torch.finfo(torch.float64).eps * values[-1]
    compact: Tensor = vectors[:, kept] * values[kept].sqrt()
    return compact
