"""Correlations between rows with missing entries, many groups of rows at once.

Every coefficient is the cosine of two prepared vectors (centred values, centred ranks, signs of differences),
so one product of the prepared rows with themselves gives all pairs of rows; the square root of its diagonal
is the norm.
"""

import torch
from torch import Tensor

COEFFICIENTS = ("pearson", "spearman", "kendall")
RELATIVE_ZERO = 1e-12  # a row with less spread relative to its largest value is constant up to rounding
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
    """Return for each row whether its valid entries do not vary beyond rounding.

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
