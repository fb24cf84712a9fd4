"""Stimuli that are copies of each other for both of two models.

What two models must have in common depends on how many different stimuli they saw, not on how often.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

FEW = 8
RATIO = 0.6180339887498949  # irrational, so that features of round numbers seldom cancel


def find_copies(x: Tensor) -> Tensor | None:
    """Number the different rows of a matrix, shape (n_stimuli, n_features).

    Returns:
        The number of each row, int64, shape (n_stimuli,), equal for equal rows; None where all differ.
    """
    key = x.new_zeros(len(x), dtype=torch.float64)
    for feature in x[:, :FEW].unbind(1):  # each step is rounded the same way in equal rows
        key = key * RATIO + feature
    if len(torch.unique(key)) == len(x):
        return None
    for n_features in (FEW, x.shape[1]):  # a few features distinguish nearly all stimuli, where any do
        rows, numbers = torch.unique(x[:, :n_features], dim=0, return_inverse=True)
        if len(rows) == len(x):
            return None
    copies: Tensor = numbers
    return copies


def count_distinct(first: Tensor | None, second: Tensor | None, n_stimuli: int) -> int:
    """Count stimuli that differ for at least one of two models, given the result of ``find_copies``."""
    if first is None or second is None:
        return n_stimuli
    return len(torch.unique(first * n_stimuli + second))


def count_distinct_pairs(copies: Sequence[Tensor | None], n_stimuli: int) -> Tensor:
    """Count for all pairs of models the stimuli that differ for at least one, (n_models, n_models), int64."""
    counts = torch.full((len(copies), len(copies)), n_stimuli)
    for a, first in enumerate(copies):
        for b, second in enumerate(copies[: a + 1]):
            counts[a, b] = counts[b, a] = count_distinct(first, second, n_stimuli)
    return counts


def describe_count(n_distinct: int, n_stimuli: int) -> str:
    """Return how many stimuli there are, and of copies how many are different."""
    return (
        f"{n_distinct} stimuli"
        if n_distinct == n_stimuli
        else f"{n_distinct} different of {n_stimuli} stimuli"
    )
