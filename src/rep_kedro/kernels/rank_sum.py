"""Wilcoxon's rank-sum test: do the values of one sample tend to be larger than those of another?"""

import math

import torch
from torch import Tensor

from rep_kedro.kernels.correlation import average_ranks


def rank_sum_test(first: Tensor, second: Tensor) -> tuple[float, float]:
    """Compare two samples by the sum of their ranks, with the normal approximation.

    The p-value holds for independent values. Correlations over pairs of stimulus sets are not: each set is in
    many pairs, so that their p-values are far too small, and more pairs make them smaller still. Set an
    interval from resampled networks and stimulus sets beside it.

    Args:
        first: Values of one sample, shape (n_first,); NaN is left out.
        second: Values of the other, shape (n_second,).

    Returns:
        Standardised rank sum of the first sample (positive where its values are larger), and its two-sided
        p-value, in [0, 1]; both NaN where a sample has no value. Ties share the mean of their ranks and leave
        the variance as it is.

    Source: Wilcoxon 1945, Biometrics Bull 1:80; as scipy.stats.ranksums computes it, which Ciernik et al.
        2024, arXiv:2411.05561, use for their anchors.

    Example:
        >>> z, p_value = rank_sum_test(torch.tensor([4.0, 5.0, 6.0]), torch.tensor([1.0, 2.0, 3.0]))
        >>> round(z, 4), round(p_value, 4)
        (1.964, 0.0495)
    """
    first, second = (sample.double()[~sample.isnan()] for sample in (first, second))
    n_first, n_second = len(first), len(second)
    if not n_first or not n_second:
        return math.nan, math.nan
    rank_sum = float(average_ranks(torch.cat([first, second]))[:n_first].sum())
    z = (rank_sum - n_first * (n_first + n_second + 1) / 2) / _spread(n_first, n_second)
    return z, math.erfc(abs(z) / math.sqrt(2))


def smallest_rank_sum_p(n_first: int, n_second: int) -> float:
    """Return the p-value of two samples of these sizes that do not overlap; NaN where one is empty.

    Example:
        >>> round(smallest_rank_sum_p(3, 3), 4), round(smallest_rank_sum_p(1, 1), 4)
        (0.0495, 0.3173)
    """
    if not n_first or not n_second:
        return math.nan
    return math.erfc(n_first * n_second / 2 / _spread(n_first, n_second) / math.sqrt(2))


def _spread(n_first: int, n_second: int) -> float:
    return math.sqrt(n_first * n_second * (n_first + n_second + 1) / 12)
