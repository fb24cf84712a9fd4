"""How many stimuli a similarity needs: the same measure on smaller and smaller subsets."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def trace_by_sample_size(
    matrices: Tensor, orders: Tensor, sizes: Sequence[int], prepare: Callable[[Tensor], Tensor], *, least: int
) -> Tensor:
    """Return similarities on nested subsets of stimuli: the first ones of each order.

    Shows how many stimuli a value needs: biased CKA falls with their number, the debiased one only settles.

    Args:
        matrices: Symmetric matrices over stimuli whose entries do not depend on which others there are, one
            per model, shape (n_models, n_stimuli, n_stimuli).
        orders: Orders of the stimuli, int64, shape (n_orders, n_stimuli), from ``draw_permutations``.
        sizes: Numbers of stimuli, each at most n_stimuli.
        prepare: Turns the matrices of a subset, shape (n_models, size, size), into others of length one whose
            inner products are the similarities: ``centre_grams``, ``centre_dissimilarities``.
        least: Fewest stimuli that the measure is defined for.

    Returns:
        Similarities, float64, shape (n_orders, n_sizes, n_models, n_models), symmetric; NaN for a model that
        does not distinguish the stimuli of a subset. All stimuli are compared once, as their order does not
        matter.

    Raises:
        ValueError: If a size is out of range, or orders are of another number of stimuli.

    Cost: n_orders * n_models * (n_models + what ``prepare`` takes) * sum of squared sizes operations.
    """
    n_models, n = matrices.shape[:2]
    for size in sizes:
        if not least <= size <= n:
            raise ValueError(f"subset sizes must be {least} to {n} stimuli, got {size}")
    if orders.ndim != 2 or orders.shape[1] != n:
        raise ValueError(f"orders must have shape (n_orders, {n}), got {tuple(orders.shape)}")
    curves = matrices.new_zeros(len(orders), len(sizes), n_models, n_models, dtype=torch.float64)
    for place, size in enumerate(sizes):
        if size == n:
            curves[:, place] = _compare(prepare(matrices))
            continue
        for index, order in enumerate(orders.to(matrices.device)):
            chosen = order[:size]
            curves[index, place] = _compare(prepare(matrices[:, chosen[:, None], chosen]))
    return curves


def _compare(unit: Tensor) -> Tensor:
    flat = unit.flatten(1)
    values = flat @ flat.T
    return (values + values.T) / 2
