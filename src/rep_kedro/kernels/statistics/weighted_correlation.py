"""Correlations between rows whose entries count several times, for many vectors of counts at once.

Resampling models or stimuli gives the pairs of them weights and leaves the values as they are. Pearson's r
needs nothing but weighted sums of products, one matrix product for all replicates; ranks change with the
weights, but the order of the values does not, so that it is sorted once and ranks are sums of weights.
"""

import torch
from torch import Tensor

from rep_kedro.kernels.statistics.correlation import is_constant

COEFFICIENTS = ("pearson", "spearman")
ENTRIES = 2**22  # replicates * rows * entries in memory at once; changes speed, not the result
SMALLEST_VARIANCE = 1e-4  # of the row's variance with equal weights; below it sums of products lose digits


class WeightedCorrelation:
    """Correlations of all pairs of rows, prepared for any number of weight vectors.

    Args:
        rows: Finite numbers, shape (n_rows, n_entries).
        coefficient: "pearson" or "spearman" (ranks of the repeated entries, ties averaged).

    Raises:
        ValueError: If the coefficient is not one of the two.

    Example:
        >>> from rep_kedro.kernels.statistics.correlation import correlate_rows
        >>> rows, weights = torch.tensor([[1.0, 2.0, 3.0], [1.0, 3.0, 2.0]]), torch.tensor([[1.0, 1.0, 2.0]])
        >>> expanded = torch.tensor([[[1.0, 2.0, 3.0, 3.0], [1.0, 3.0, 2.0, 2.0]]])
        >>> direct = correlate_rows(expanded, torch.ones(1, 4, dtype=torch.bool))
        >>> torch.allclose(WeightedCorrelation(rows).correlate(weights), direct)
        True
    """

    def __init__(self, rows: Tensor, coefficient: str = "pearson") -> None:
        if coefficient not in COEFFICIENTS:
            known = ", ".join(COEFFICIENTS)
            raise ValueError(f"unknown weighted correlation coefficient {coefficient!r}; known: {known}")
        self.rows = rows.double()
        self.coefficient = coefficient
        if rows.shape[1] == 0:
            return
        self.constant = is_constant(self.rows, torch.ones_like(self.rows[:1], dtype=torch.bool))
        if coefficient == "spearman":
            self.ties = _sort_with_ties(self.rows)
            return
        centred = self.rows - self.rows.mean(dim=1, keepdim=True)
        centred = centred / centred.abs().amax(dim=1, keepdim=True)
        centred = centred / centred.square().mean(dim=1, keepdim=True).sqrt()
        self.standardised = torch.where(self.constant[:, None], 0.0, centred)

    def correlate(self, weights: Tensor) -> Tensor:
        """Return correlations as if entry i were there weights[i] times.

        Args:
            weights: How often each entry counts, not negative, shape (n_replicates, n_entries).

        Returns:
            Correlations in [-1, 1], float64, shape (n_replicates, n_rows, n_rows), exactly symmetric; NaN
            where a row does not vary over the entries of positive weight.

        Cost: n_replicates * n_rows^2 / 2 * n_entries operations; for ranks also some ten passes over
            n_replicates * n_rows * n_entries numbers, some at a time.
        """
        n_rows, n_entries = self.rows.shape
        if n_entries == 0:
            return self.rows.new_full((len(weights), n_rows, n_rows), torch.nan)
        weights = weights.double()
        if self.coefficient == "spearman":
            return self._correlate_exactly(weights)
        found, is_exact = self._correlate_by_sums(weights)
        if not is_exact.all():
            found[~is_exact] = self._correlate_exactly(weights[~is_exact])
        return found

    def _correlate_by_sums(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return Pearson's r from weighted sums, and for which replicates it is accurate."""
        n_rows = len(self.rows)
        first, second = torch.triu_indices(n_rows, n_rows, device=weights.device)
        means = weights @ self.standardised.T
        upper = weights.new_zeros(len(weights), len(first))
        for block, block_weights in zip(
            torch.split(self.standardised, max(1, ENTRIES // len(first)), dim=1),
            torch.split(weights, max(1, ENTRIES // len(first)), dim=1),
            strict=True,
        ):
            upper += block_weights @ (block[first] * block[second]).T
        total = weights.sum(dim=1, keepdim=True)
        means = means / total
        upper = upper / total - means[:, first] * means[:, second]
        covariance = weights.new_zeros(len(weights), n_rows, n_rows)
        covariance[:, first, second] = covariance[:, second, first] = upper
        variance = covariance.diagonal(dim1=1, dim2=2)
        is_exact = ((variance >= SMALLEST_VARIANCE) | self.constant).all(dim=1)
        return _make_cosines(covariance, self.constant.expand(len(weights), -1)), is_exact

    def _correlate_exactly(self, weights: Tensor) -> Tensor:
        """Centre (ranks of) the rows of each replicate, some replicates at a time."""
        found = []
        for block in torch.split(weights, max(1, ENTRIES // self.rows.numel())):
            numbers = self.rows.expand(len(block), -1, -1)
            if self.coefficient == "spearman":
                numbers = _rank_weighted(block, *self.ties)
            found.append(_correlate_weighted(numbers, block, is_constant(self.rows, block[:, None, :] > 0)))
        return torch.cat(found)


def _correlate_weighted(numbers: Tensor, weights: Tensor, constant: Tensor) -> Tensor:
    """Return weighted Pearson correlations of the rows of each replicate, NaN where a row is constant."""
    share = weights / weights.sum(dim=-1, keepdim=True)
    centred = numbers - (numbers @ share[:, :, None])
    centred = torch.where(weights[:, None] > 0, centred, 0.0)
    centred = centred / centred.abs().amax(dim=-1, keepdim=True)
    scaled = centred * share.sqrt()[:, None]
    return _make_cosines(scaled @ scaled.mT, constant)


def _make_cosines(products: Tensor, constant: Tensor) -> Tensor:
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
