"""Permutation nulls of similarity measures, all model pairs at once.

Under the null hypothesis the stimuli of one model are matched at random with those of the other. Nothing is
computed afresh, as a permutation of stimuli only reorders what was prepared once for each model (a centred or
ranked matrix, neighbour ids, a basis). For a < b, model a keeps its order and model b is permuted; row i of b
is then stimulus ``permutation[i]``. The identity as a permutation gives the observed value with the same
rounding.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rep_kedro.kernels.statistics.centring import MIN_STIMULI_DEBIASED, count_stimuli, scale_features

MOVED_ENTRIES = 2**24  # numbers of permuted bases in memory at once
LOOKUPS = 2**24  # neighbour look-ups in memory at once


def permute_matrices(unit: Tensor, permutations: Tensor, *, pairs_per_block: int = 2**18) -> Tensor:
    """Return the null of a measure that is the inner product of matrices over stimuli (CKA, RSA, kin).

    Args:
        unit: Prepared symmetric matrices, shape (n_models, n_stimuli, n_stimuli), from ``centre_grams`` or
            ``centre_dissimilarities``; centring and ranking do not change when stimuli are permuted.
        permutations: Int64, shape (n_permutations, n_stimuli).
        pairs_per_block: Pairs of stimuli of all models in memory at once; changes memory and speed, not the
            result.

    Returns:
        Null values, float64, shape (n_permutations, n_models, n_models), symmetric.

    Raises:
        ValueError: If the permutations are of another number of stimuli.

    Cost: n_permutations * n_models^2 * n_stimuli^2 / 2 operations; another 1.5 times the memory of ``unit``.

    Source: Groeger, Wen & Brbic 2026, arXiv:2602.14486 (permutation calibration of similarity measures).
    """
    n_models, n = unit.shape[:2]
    permutations = _require_permutations(permutations, n).to(unit.device)
    null = torch.zeros(len(permutations), n_models, n_models, dtype=torch.float64, device=unit.device)
    by_pair = unit.permute(1, 2, 0).reshape(n * n, n_models)  # all models of a pair of stimuli side by side
    first, second = torch.triu_indices(n, n, offset=1, device=unit.device)
    fixed, selves = by_pair[first * n + second], by_pair[:: n + 1]
    for index, order in enumerate(permutations):
        null[index] = (selves.T @ selves[order]).double()
        moved_pairs = order[first] * n + order[second]
        for start in range(0, len(moved_pairs), pairs_per_block):
            block = slice(start, start + pairs_per_block)
            moved = by_pair.index_select(0, moved_pairs[block])
            null[index] += 2 * (fixed[block].T @ moved).double()
    return _mirror(null)


def permute_linear_cka(
    representations: Sequence[Tensor], permutations: Tensor, *, debiased: bool = True
) -> Tensor:
    """Return the null of linear CKA from products of features; no matrix over stimuli is built.

    Faster than ``permute_matrices`` where the widths together are small compared with n_models * n_stimuli.

    Args:
        representations: One matrix per model, shape (n_stimuli, n_features_i), the same stimuli in the same
            order.
        permutations: Int64, shape (n_permutations, n_stimuli).
        debiased: Use the unbiased HSIC.

    Returns:
        Null values, float64, shape (n_permutations, n_models, n_models), symmetric; NaN where all stimuli of
        a model have the same features.

    Raises:
        ValueError: If models have different numbers of stimuli, or there are too few.

    Cost: n_permutations * n_stimuli * (sum of widths)^2 operations.

    Source: Song et al. 2012, JMLR 13:1393, equation 5, rewritten for centred features.
    """
    n = count_stimuli(representations)
    if debiased and n < MIN_STIMULI_DEBIASED:
        raise ValueError(f"debiased CKA needs at least {MIN_STIMULI_DEBIASED} stimuli, got {n}")
    units = [scale_features(x) for x in representations]
    squared_norms = torch.stack([x.square().sum(dim=1) for x in units])

    def compare(order: Tensor) -> Tensor:
        total = _sum_squares_of_blocks(units, order)
        if not debiased:
            return total
        crossed = squared_norms @ squared_norms[:, order].T
        trace = squared_norms.sum(dim=1)
        return total - n / (n - 2) * crossed + torch.outer(trace, trace) / ((n - 1) * (n - 2))

    identity = torch.arange(n, device=units[0].device)
    length = compare(identity).diagonal().sqrt()
    orders = _require_permutations(permutations, n).to(units[0].device)
    return _mirror(torch.stack([compare(order) for order in orders]) / torch.outer(length, length))


def permute_bases(
    bases: Sequence[Tensor], permutations: Tensor, reduce: Callable[[Tensor], Tensor]
) -> Tensor:
    """Return the null of a measure that reads a number off the cross product of two row bases.

    Args:
        bases: One matrix per model, shape (n_stimuli, rank_i): orthonormal (CCA), scaled (Procrustes),
            whitened.
        permutations: Int64, shape (n_permutations, n_stimuli).
        reduce: Maps cross products, shape (n_permutations, rank_a, rank_b), to values, shape
            (n_permutations,): ``sum_of_squares`` (CCA, GULP's cross term), ``sum_of_singular_values`` (mean
            CCA, Procrustes), or own.

    Returns:
        Null values before any scaling by ranks, float64, shape (n_permutations, n_models, n_models),
        symmetric.

    Raises:
        ValueError: If models have different numbers of stimuli.
    """
    n = count_stimuli(bases)
    permutations = _require_permutations(permutations, n).to(bases[0].device)
    null = torch.zeros(len(permutations), len(bases), len(bases), dtype=torch.float64, device=bases[0].device)
    for b, moving in enumerate(bases):
        per_block = max(1, MOVED_ENTRIES // max(1, moving.numel()))
        for start in range(0, len(permutations), per_block):
            block = slice(start, start + per_block)
            moved = moving.double()[permutations[block]]  # (n_block, n_stimuli, rank_b)
            for a, fixed in enumerate(bases[: b + 1]):
                null[block, a, b] = reduce(fixed.double().T @ moved)
    return _mirror(null)


def sum_of_squares(products: Tensor) -> Tensor:
    """Return the squared Frobenius norm of each matrix."""
    return products.square().sum(dim=(-2, -1))


def sum_of_singular_values(products: Tensor) -> Tensor:
    """Return the nuclear norm of each matrix."""
    values: Tensor = torch.linalg.svdvals(products)
    return values.sum(dim=-1)


def permute_neighbours(neighbour_ids: Tensor, permutations: Tensor, *, jaccard: bool = False) -> Tensor:
    """Return the null of the overlap of nearest neighbours.

    Args:
        neighbour_ids: Ids of the k nearest stimuli of each stimulus, without itself, int64, shape (n_models,
            n_stimuli, k); no id twice in a row.
        permutations: Int64, shape (n_permutations, n_stimuli).
        jaccard: Divide shared neighbours by all different ones rather than by k.

    Returns:
        Null values of the mean over stimuli, float64, shape (n_permutations, n_models, n_models), symmetric.
        Their expectation for the plain overlap is k / (n_stimuli - 1).

    Raises:
        ValueError: If the permutations are of another number of stimuli.

    Cost: n_permutations * n_models^2 * n_stimuli * k look-ups in a table of n_models * n_stimuli^2 bytes.

    Source: Huh et al. 2024, arXiv:2405.07987 (mutual nearest neighbours).
    """
    n_models, n, k = neighbour_ids.shape
    permutations = _require_permutations(permutations, n).to(neighbour_ids.device)
    inverses = permutations.argsort(dim=1)
    table = torch.zeros(n_models, n, n, dtype=torch.bool, device=neighbour_ids.device)
    table.scatter_(2, neighbour_ids, True)
    null = torch.zeros(
        len(permutations), n_models, n_models, dtype=torch.float64, device=neighbour_ids.device
    )
    stimuli_per_block = max(1, LOOKUPS // (n_models * n_models * k))
    for index, (order, inverse) in enumerate(zip(permutations, inverses, strict=True)):
        for start in range(0, n, stimuli_per_block):
            rows = order[start : start + stimuli_per_block]
            # neighbours under their new places, (n_models, n_rows, k)
            moved = inverse[neighbour_ids[:, rows]]
            places = torch.arange(start, start + len(rows), device=order.device)[None, :, None]
            shared = table[:, places, moved].sum(dim=-1).double()  # (n_models, n_models, n_rows)
            null[index] += (shared / (2 * k - shared if jaccard else k)).sum(dim=-1)
    return _mirror(null / n)


def _mirror(null: Tensor) -> Tensor:
    """Copy what is above the diagonal below it: the pair (b, a) has the same null as (a, b)."""
    return null.triu() + null.triu(diagonal=1).mT


def _sum_squares_of_blocks(units: Sequence[Tensor], order: Tensor) -> Tensor:
    """Return |X_a' X_b[order]|^2 for all models, shape (n_models, n_models)."""
    moved = torch.cat([x[order] for x in units], dim=1)
    widths = [x.shape[1] for x in units]
    rows = []
    for x in units:
        columns = (x.T @ moved).square().sum(dim=0)
        rows.append(torch.stack([part.sum() for part in torch.split(columns, widths)]))
    return torch.stack(rows)


def _require_permutations(permutations: Tensor, n_stimuli: int) -> Tensor:
    if permutations.ndim != 2 or permutations.shape[1] != n_stimuli:
        raise ValueError(
            f"permutations must have shape (n_permutations, {n_stimuli}), got {tuple(permutations.shape)}"
        )
    return permutations
