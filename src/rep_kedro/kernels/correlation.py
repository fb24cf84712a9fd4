"""Correlations between rows that may have missing places, many groups of rows at once.

Every coefficient is the cosine of two prepared vectors (centred values, centred ranks, signs of differences),
so one product of the prepared rows with themselves gives all pairs of rows; the square root of its diagonal
is the norm.
"""

import torch
from torch import Tensor

COEFFICIENTS = ("pearson", "spearman", "kendall")
WEIGHTED_COEFFICIENTS = ("pearson", "spearman")
RELATIVE_ZERO = 1e-12  # a row that spreads less than this beside its largest value is constant up to rounding
WEIGHTED_ENTRIES = 2**22  # replicates * rows * entries in memory at once; changes speed, not the result
SIGNS_PER_ROW = 2**18  # signs of differences in memory for each row; sums of so many are exact in float32


def average_ranks(values: Tensor, valid: Tensor | None = None) -> Tensor:
    """Rank the entries of each row from 1; equal entries share the mean of their ranks.

    Args:
        values: Numbers to rank along the last axis, shape (..., n); finite wherever they are valid.
        valid: Which entries count, bool, broadcastable to ``values``; all of them by default. The others get
            NaN and take no rank from the rest.

    Returns:
        Ranks, float64, same shape, in 1 to the number of valid entries of the row.

    Example:
        >>> average_ranks(torch.tensor([3.0, 1.0, 3.0]))
        tensor([2.5000, 1.0000, 2.5000], dtype=torch.float64)
    """
    numbers = values.double()
    if valid is not None:
        numbers = torch.where(valid, numbers, torch.inf)
    numbers = numbers.contiguous()
    ordered = numbers.sort(dim=-1).values
    # how many are smaller + how many are not larger = first rank + last rank - 1
    smaller = torch.searchsorted(ordered, numbers)
    not_larger = torch.searchsorted(ordered, numbers, right=True)
    ranks = (smaller + not_larger + 1).double() / 2
    return ranks if valid is None else torch.where(valid, ranks, torch.nan)


def is_constant(rows: Tensor, valid: Tensor) -> Tensor:
    """Tell for each row whether its valid entries do not vary beyond rounding.

    Args:
        rows: Numbers, shape (..., n), finite wherever they are valid.
        valid: Which entries count, bool, broadcastable to ``rows``.

    Returns:
        Bool, shape (...); True as well where no entry is valid.
    """
    if rows.shape[-1] == 0:
        return torch.ones(rows.shape[:-1], dtype=torch.bool, device=rows.device)
    highest = torch.where(valid, rows, -torch.inf).amax(dim=-1)
    lowest = torch.where(valid, rows, torch.inf).amin(dim=-1)
    largest = torch.where(valid, rows, 0.0).abs().amax(dim=-1)
    return ~(highest - lowest > RELATIVE_ZERO * largest)


def correlate_rows(rows: Tensor, valid: Tensor, *, coefficient: str = "pearson") -> Tensor:
    """Correlate all pairs of rows within each group of rows.

    Rows that are constant (no variance) and groups with no valid entry give NaN.

    Args:
        rows: Numbers, shape (n_groups, n_rows, n_entries), finite wherever they are valid.
        valid: Which entries count in a group, bool, shape (n_groups, n_entries): the same for all rows of the
            group.
        coefficient: "pearson"; "spearman" (Pearson of average ranks); "kendall" (tau-b, corrected for ties).

    Returns:
        Correlations in [-1, 1], float64, shape (n_groups, n_rows, n_rows), exactly symmetric.

    Raises:
        ValueError: If the coefficient is unknown.

    Cost: Time n_groups * n_rows^2 * n_entries, for Kendall's tau that times n_entries (for all pairs of rows
        together).

    Source: Kendall 1945, Biometrika 33:239 (tau-b); Spearman with ties as Pearson's r of mid-ranks.

    Example:
        >>> rows = torch.tensor([[[1.0, 2.0, 3.0], [1.0, 3.0, 2.0]]])
        >>> valid = torch.ones(1, 3, dtype=torch.bool)
        >>> round(correlate_rows(rows, valid, coefficient="kendall")[0, 0, 1].item(), 4)
        0.3333
    """
    if coefficient not in COEFFICIENTS:
        raise ValueError(f"unknown correlation coefficient {coefficient!r}; known: {', '.join(COEFFICIENTS)}")
    n_groups, n_rows, n_entries = rows.shape
    if n_entries == 0:
        return torch.full((n_groups, n_rows, n_rows), torch.nan, dtype=torch.float64, device=rows.device)
    rows = torch.where(valid[:, None, :], rows.double(), 0.0)
    constant = is_constant(rows, valid[:, None, :])
    if coefficient == "pearson":
        products = _product_of_centred(rows, valid)
    elif coefficient == "spearman":
        products = _product_of_centred(average_ranks(rows, valid[:, None, :]), valid)
    else:
        products = torch.stack(
            [_product_of_signs(group[:, keep]) for group, keep in zip(rows, valid, strict=True)]
        )
    length = products.diagonal(dim1=-2, dim2=-1).sqrt()
    cosines = products / (length[:, :, None] * length[:, None, :])
    cosines = ((cosines + cosines.mT) / 2).clamp(-1, 1)
    undefined = constant[:, :, None] | constant[:, None, :]
    return torch.where(undefined, torch.nan, cosines)


def correlate_weighted_rows(rows: Tensor, weights: Tensor, *, coefficient: str = "pearson") -> Tensor:
    """Correlate all pairs of rows for each vector of weights, as if entry i were there weight[i] times.

    Args:
        rows: Finite numbers, shape (n_rows, n_entries).
        weights: How often each entry counts, not negative, shape (n_replicates, n_entries).
        coefficient: "pearson" or "spearman" (ranks of the repeated entries, ties averaged).

    Returns:
        Correlations in [-1, 1], float64, shape (n_replicates, n_rows, n_rows), exactly symmetric; NaN where a
        row does not vary over the entries of positive weight.

    Raises:
        ValueError: If the coefficient is not one of the two.

    Cost: n_replicates * n_rows * n_entries * (n_rows + some) operations; the rows are sorted once.

    Example:
        >>> rows, weights = torch.tensor([[1.0, 2.0, 3.0], [1.0, 3.0, 2.0]]), torch.tensor([[1.0, 1.0, 2.0]])
        >>> expanded = torch.tensor([[[1.0, 2.0, 3.0, 3.0], [1.0, 3.0, 2.0, 2.0]]])
        >>> direct = correlate_rows(expanded, torch.ones(1, 4, dtype=torch.bool))
        >>> torch.allclose(correlate_weighted_rows(rows, weights), direct)
        True
    """
    if coefficient not in WEIGHTED_COEFFICIENTS:
        known = ", ".join(WEIGHTED_COEFFICIENTS)
        raise ValueError(f"unknown weighted correlation coefficient {coefficient!r}; known: {known}")
    n_rows, n_entries = rows.shape
    found = torch.full((len(weights), n_rows, n_rows), torch.nan, dtype=torch.float64, device=rows.device)
    if n_entries == 0:
        return found
    rows = rows.double()
    ties = _sort_with_ties(rows) if coefficient == "spearman" else None
    replicates_per_block = max(1, WEIGHTED_ENTRIES // (n_rows * n_entries))
    for start in range(0, len(weights), replicates_per_block):
        block = weights[start : start + replicates_per_block].double()
        numbers = rows.expand(len(block), -1, -1) if ties is None else _rank_weighted(block, *ties)
        constant = is_constant(rows, block[:, None, :] > 0)
        found[start : start + len(block)] = _correlate_weighted(numbers, block, constant)
    return found


def _correlate_weighted(numbers: Tensor, weights: Tensor, constant: Tensor) -> Tensor:
    """Return weighted Pearson correlations of the rows of each replicate, NaN where a row is constant."""
    share = weights / weights.sum(dim=-1, keepdim=True)
    centred = numbers - (numbers @ share[:, :, None])
    centred = torch.where(weights[:, None] > 0, centred, 0.0)
    centred = centred / centred.abs().amax(dim=-1, keepdim=True)
    scaled = centred * share.sqrt()[:, None]
    products = scaled @ scaled.mT
    length = products.diagonal(dim1=-2, dim2=-1).sqrt()
    cosines = products / (length[:, :, None] * length[:, None, :])
    cosines = ((cosines + cosines.mT) / 2).clamp(-1, 1)
    return torch.where(constant[:, :, None] | constant[:, None, :], torch.nan, cosines)


def _sort_with_ties(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the order of each row's entries, and for each entry how many are smaller and not larger."""
    ordered, order = rows.contiguous().sort(dim=-1)
    smaller = torch.searchsorted(ordered, rows.contiguous())
    not_larger = torch.searchsorted(ordered, rows.contiguous(), right=True)
    return order, smaller, not_larger


def _rank_weighted(weights: Tensor, order: Tensor, smaller: Tensor, not_larger: Tensor) -> Tensor:
    """Rank entries that count ``weights`` times, shape (n_replicates, n_rows, n_entries)."""
    n_replicates, (n_rows, n_entries) = len(weights), order.shape
    below = weights.new_zeros(n_replicates, n_rows, n_entries + 1)  # total weight of the first k entries
    torch.cumsum(weights[:, order], dim=-1, out=below[:, :, 1:])
    first = below.gather(-1, smaller.expand(n_replicates, -1, -1))
    last = below.gather(-1, not_larger.expand(n_replicates, -1, -1))
    return (first + 1 + last) / 2


def _product_of_centred(rows: Tensor, valid: Tensor) -> Tensor:
    """Multiply the mean-free rows of each group with each other; scaled so that no square underflows."""
    keep = valid[:, None, :]
    n_valid = valid.sum(dim=-1)[:, None, None]
    centre = torch.where(keep, rows, 0.0).sum(dim=-1, keepdim=True) / n_valid
    centred = torch.where(keep, rows - centre, 0.0)
    unit = centred / centred.abs().amax(dim=-1, keepdim=True)
    return unit @ unit.mT


def _product_of_signs(rows: Tensor) -> Tensor:
    """Sum products of signs of differences over all ordered pairs of entries, shape (n_rows, n_rows)."""
    n_rows, n_entries = rows.shape
    entries_per_block = max(1, SIGNS_PER_ROW // max(1, n_entries))
    total = torch.zeros(n_rows, n_rows, dtype=torch.float64, device=rows.device)
    for block in torch.split(rows, entries_per_block, dim=1):
        signs = (
            (block[:, :, None] - rows[:, None, :]).sign().float().flatten(1)
        )  # (n_rows, block * n_entries)
        total += (signs @ signs.T).double()
    return total
