"""Families of tests: p-values corrected within each, and the smallest that the correction can reach."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rep_kedro.kernels.statistics.calibration import adjust_p_values

LEVEL = 0.05  # at which corrected p-values are read, by warnings and by the report


@dataclass(frozen=True)
class Corrected:
    """What the correction made of p-values; all tensors have their shape.

    Attributes:
        p_adjusted: Corrected p-values, float64, NaN where there is no test.
        p_smallest: The smallest that ``p_adjusted`` could have been, had every test of the family been as
            clear as it can be; NaN where there is no test.
        n_tests: Size of the family, int64; 0 where there is no test.
    """

    p_adjusted: Tensor
    p_smallest: Tensor
    n_tests: Tensor


def correct_families(p_values: Tensor, smallest: Tensor, families: Tensor, *, method: str) -> Corrected:
    """Correct p-values for the number of tests of their family alone.

    Args:
        p_values: In [0, 1] or NaN, shape (n,).
        smallest: Smallest p-value that each test could have given, same shape; of a permutation test
            1 / (n_permutations + 1), or more where some permutations change nothing.
        families: Label of each test's family, int64, same shape.
        method: As for ``adjust_p_values``.

    Returns:
        Corrected p-values, how small they could have been, and the sizes of the families.

    Example:
        >>> p = torch.tensor([0.01, 0.01, 0.01], dtype=torch.float64)
        >>> found = correct_families(p, p, torch.tensor([0, 0, 1]), method="holm")
        >>> found.p_adjusted.tolist(), found.n_tests.tolist()
        ([0.02, 0.02, 0.01], [2, 2, 1])
    """
    p_adjusted, p_smallest = torch.full((2, len(p_values)), torch.nan, dtype=torch.float64)
    n_tests = torch.zeros(len(p_values), dtype=torch.int64)
    is_tested = ~p_values.isnan()
    for family in sorted(set(families.tolist())):
        own = is_tested & (families == family)
        p_adjusted[own] = adjust_p_values(p_values[own], method=method)
        p_smallest[own] = adjust_p_values(smallest[own], method=method)
        n_tests[own] = own.sum()
    return Corrected(p_adjusted, p_smallest, n_tests)


def advise_hopeless(n_orders: Sequence[int], n_networks: int, *, method: str, otherwise: str) -> str:
    """Say what lets the tests of a family reach the level: more permutations cannot, with few networks.

    Args:
        n_orders: Permutations of the networks' names that there are, for each test of the family.
        n_networks: Most networks of any test.
        method: As for ``adjust_p_values``.
        otherwise: The advice where the number of networks would allow a small enough p-value.

    Example:
        >>> advise_hopeless([24, 24], 4, method="holm", otherwise="raise n_permutations")
        '4 networks have 24 orders, so p is at least 0.083 whatever n_permutations is: compare more networks'
        >>> advise_hopeless([10**375], 200, method="holm", otherwise="raise n_permutations")
        'raise n_permutations'
    """
    shares = torch.tensor([1 / n for n in n_orders], dtype=torch.float64)  # orders exceed any float
    least = float(adjust_p_values(shares, method=method).min())
    if least <= LEVEL:
        return otherwise
    return (
        f"{n_networks} networks have {max(n_orders):,} orders, so p is at least {least:.2g} whatever "
        "n_permutations is: compare more networks"
    )


def explain_hopeless(tests: str, n_tests: int, p_smallest: float) -> str:
    """Return a message that no test of a family can reach the level, or an empty string.

    Args:
        tests: What is tested, in the plural.
        n_tests: How many they are.
        p_smallest: The smallest corrected p-value that any of them could have had.

    Example:
        >>> explain_hopeless("correlations", 280, 0.056)
        'none of 280 correlations can reach p ≤ 0.05: the smallest corrected p-value possible is 0.056'
        >>> explain_hopeless("correlations", 28, 0.0056)
        ''
    """
    if not p_smallest > LEVEL:
        return ""
    return (
        f"none of {n_tests} {tests} can reach p ≤ {LEVEL}: the smallest corrected p-value possible is "
        f"{p_smallest:.2g}"
    )
