"""Consistency: the correlation of model similarities on one stimulus set with those on another.

For each set of model pairs the similarities on a stimulus set are one row; the consistency of two stimulus
sets is the correlation of their rows. All pairs of stimulus sets and all sets of model pairs are done
together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rep_kedro.kernels.statistics.correlation import COEFFICIENTS, correlate_rows, is_constant

MIN_MODEL_PAIRS = 3  # two points are always on a line
SYMMETRY_TOLERANCE = (
    1e-9  # of the largest similarity: entries [a, b] and [b, a] that differ by more are two numbers
)
REASONS = (
    "",
    f"fewer than {MIN_MODEL_PAIRS} model pairs",
    "similarities do not vary on the first stimulus set",
    "similarities do not vary on the second stimulus set",
    "similarities vary on neither stimulus set",
)


@dataclass(frozen=True)
class Consistency:
    """Correlations of model similarities between stimulus sets, and how they came about.

    Attributes:
        coefficients: By name ("pearson", ...): correlations in [-1, 1], float64, shape (n_groups, n_sets,
            n_sets), symmetric, NaN where undefined.
        n_pairs: Model pairs that entered, int64, shape (n_groups, n_sets, n_sets).
        n_excluded: Model pairs of the group that were left out because their similarity is NaN on one of the
            two stimulus sets, int64, same shape.
        reason_codes: Index into ``REASONS``, int64, same shape; 0 where the value is defined.
    """

    coefficients: dict[str, Tensor]
    n_pairs: Tensor
    n_excluded: Tensor
    reason_codes: Tensor

    def reason(self, group: int, set_a: int, set_b: int) -> str:
        """Return why a value is NaN, the empty string where it is not."""
        return REASONS[int(self.reason_codes[group, set_a, set_b])]


def mask_model_pairs(members_a: Tensor, members_b: Tensor) -> Tensor:
    """Mark the unordered pairs {a, b}, a of the first set of models, b of the second, a not b, each once.

    Args:
        members_a: Which models are in the first set, bool, shape (n_models,). One True makes an anchor model.
        members_b: Which models are in the second set; the same tensor for the pairs within a set.

    Returns:
        Bool, shape (n_models, n_models), True only above the diagonal.

    Raises:
        ValueError: If the masks are not bool vectors of one length.

    Example:
        >>> first, both = torch.tensor([True, False, False]), torch.tensor([True, True, False])
        >>> mask_model_pairs(first, both).nonzero().tolist()
        [[0, 1]]
    """
    if members_a.dtype != torch.bool or members_b.dtype != torch.bool or members_a.ndim != 1:
        raise ValueError(f"sets of models must be bool vectors, got {members_a.dtype} and {members_b.dtype}")
    if members_a.shape != members_b.shape:
        raise ValueError(f"sets of models must have one length, got {len(members_a)} and {len(members_b)}")
    crossed = members_a[:, None] & members_b[None, :]
    return (crossed | crossed.T).triu(diagonal=1)


def pairwise_consistency(
    similarities: Tensor, pair_masks: Tensor, *, coefficients: Sequence[str] = COEFFICIENTS
) -> Consistency:
    """Correlate model similarities between all pairs of stimulus sets, for each set of model pairs.

    Neither the pairs of stimulus sets nor the model pairs are independent of each other: a spread over them
    is not a standard error (see ``kernels.bootstrap`` and ``kernels.mantel``). A model pair whose similarity
    is NaN on one of the two stimulus sets is left out of that correlation and counted.

    Args:
        similarities: One similarity matrix per stimulus set, shape (n_sets, n_models, n_models), symmetric;
            models in the same order on every set. The diagonal is never used.
        pair_masks: Which model pairs form a group, bool, shape (n_groups, n_models, n_models); [a, b] and [b,
            a] mean the same pair and it counts once; the diagonal is ignored.
        coefficients: Which of "pearson", "spearman" (average ranks), "kendall" (tau-b) to compute.

    Returns:
        Correlations, counts and reasons, each of shape (n_groups, n_sets, n_sets).

    Raises:
        ValueError: If shapes do not fit, a matrix is not symmetric, or a similarity is infinite.

    Source: Ciernik et al. 2024, arXiv:2411.05561, section 3 (definition with Pearson's r; pairs of model sets
        with two or fewer model pairs are left out there, NaN with a reason here).

    Example:
        >>> first = torch.tensor([[1.0, 0.1, 0.2], [0.1, 1.0, 0.3], [0.2, 0.3, 1.0]])
        >>> masks = torch.ones(1, 3, 3, dtype=torch.bool)
        >>> found = pairwise_consistency(torch.stack([first, -first]), masks)
        >>> round(found.coefficients["pearson"][0, 0, 1].item(), 9), found.n_pairs[0, 0, 1].item()
        (-1.0, 3)
    """
    rows, members = flatten_model_pairs(similarities, pair_masks)
    n_groups, n_sets = len(members), len(rows)
    found = Consistency(
        coefficients={
            name: torch.full((n_groups, n_sets, n_sets), torch.nan, dtype=torch.float64, device=rows.device)
            for name in coefficients
        },
        n_pairs=torch.zeros(n_groups, n_sets, n_sets, dtype=torch.int64, device=rows.device),
        n_excluded=torch.zeros(n_groups, n_sets, n_sets, dtype=torch.int64, device=rows.device),
        reason_codes=torch.zeros(n_groups, n_sets, n_sets, dtype=torch.int64, device=rows.device),
    )
    for group, member in enumerate(members):
        _fill_group(found, group, rows[:, member])
    return found


def _fill_group(found: Consistency, group: int, rows: Tensor) -> None:
    """Write the results of one group from its similarities, shape (n_sets, n_pairs), NaN where missing."""
    present = ~rows.isnan()
    found.n_pairs[group] = (present.double() @ present.double().T).long()
    found.n_excluded[group] = rows.shape[1] - found.n_pairs[group]
    correlate = _correlate_complete if present.all() else _correlate_with_gaps
    first_constant, correlations = correlate(rows, list(found.coefficients))

    spread_code = first_constant.long() + 2 * first_constant.T.long()
    codes = torch.where(spread_code > 0, spread_code + 1, 0)
    codes = torch.where(found.n_pairs[group] < MIN_MODEL_PAIRS, 1, codes)
    found.reason_codes[group] = codes
    for name, values in correlations.items():
        found.coefficients[name][group] = torch.where(codes > 0, torch.nan, values)


def _correlate_complete(rows: Tensor, names: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
    """Prepare each row once; return whether the row of the first set is constant, and the correlations."""
    everything = torch.ones_like(rows[:1], dtype=torch.bool)
    constant = is_constant(rows, everything)[:, None].expand(-1, len(rows))
    return constant, {name: correlate_rows(rows[None], everything, coefficient=name)[0] for name in names}


def _correlate_with_gaps(rows: Tensor, names: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
    """Do the same where the model pairs that enter differ between stimulus sets: two sets form a group."""
    first, second = torch.triu_indices(len(rows), len(rows), device=rows.device)
    two_rows = torch.stack([rows[first], rows[second]], dim=1)
    valid = ~two_rows.isnan().any(dim=1)
    constant = torch.zeros(len(rows), len(rows), dtype=torch.bool, device=rows.device)
    constant_of = is_constant(torch.where(valid[:, None], two_rows, 0.0), valid[:, None])
    constant[second, first] = constant_of[:, 1]
    constant[first, second] = constant_of[:, 0]
    correlations = {}
    for name in names:
        values = rows.new_zeros(len(rows), len(rows))
        values[first, second] = correlate_rows(two_rows, valid, coefficient=name)[:, 0, 1]
        values[second, first] = values[first, second]
        correlations[name] = values
    return constant, correlations


def stack_model_pairs(places: Tensor, values: Tensor, *, shape: tuple[int, int]) -> Tensor:
    """Return listed values of pairs of models as symmetric matrices; both directions enter with their mean.

    Args:
        places: Stimulus set, first and second model of each value, int64, shape (3, n_values).
        values: Numbers or NaN, shape (n_values,).
        shape: Numbers of stimulus sets and of models.

    Returns:
        Matrices, float64, shape (n_sets, n_models, n_models), NaN where there is no value.

    Example:
        >>> stack_model_pairs(torch.tensor([[0, 0], [0, 1], [1, 0]]), torch.tensor([1.0, 2.0]), shape=(1, 2))
        tensor([[[   nan, 1.5000],
                 [1.5000,    nan]]], dtype=torch.float64)
    """
    n_sets, n_models = shape
    total = torch.zeros(n_sets, n_models, n_models, dtype=torch.float64, device=values.device)
    count = torch.zeros_like(total)
    at, first, second = places
    for rows, columns in ((first, second), (second, first)):
        total.index_put_((at, rows, columns), values.double(), accumulate=True)
        count.index_put_((at, rows, columns), torch.ones_like(values, dtype=torch.float64), accumulate=True)
    return torch.where(count > 0, total / count, torch.nan)


def flatten_model_pairs(similarities: Tensor, pair_masks: Tensor) -> tuple[Tensor, Tensor]:
    """Return similarities above the diagonal, (n_sets, n_all_pairs), and which of them each group has."""
    if similarities.ndim != 3 or similarities.shape[1] != similarities.shape[2]:
        raise ValueError(
            f"similarities must have shape (n_sets, n_models, n_models), got {tuple(similarities.shape)}"
        )
    n_models = similarities.shape[1]
    if (
        pair_masks.ndim != 3
        or pair_masks.shape[1:] != similarities.shape[1:]
        or pair_masks.dtype != torch.bool
    ):
        raise ValueError(
            f"pair masks must be bool of shape (n_groups, {n_models}, {n_models}), "
            f"got {pair_masks.dtype} of shape {tuple(pair_masks.shape)}"
        )
    values = similarities.double()
    for index, matrix in enumerate(values):
        _require_symmetric(matrix, index)
    upper = torch.ones(n_models, n_models, dtype=torch.bool, device=values.device).triu(diagonal=1)
    return values[:, upper], (pair_masks | pair_masks.mT)[:, upper]


def _require_symmetric(matrix: Tensor, index: int) -> None:
    if matrix.isinf().any():
        raise ValueError(
            f"similarity matrix {index} contains an infinite value; missing similarities must be NaN"
        )
    missing = matrix.isnan()
    gap = torch.where(missing | missing.T, 0.0, matrix - matrix.T).abs()
    largest = torch.where(missing, 0.0, matrix).abs().amax() if matrix.numel() else 0.0
    if not torch.equal(missing, missing.T) or (gap > SYMMETRY_TOLERANCE * largest).any():
        raise ValueError(
            f"similarity matrix {index} is not symmetric; average it with its transpose, or copy one half"
        )
