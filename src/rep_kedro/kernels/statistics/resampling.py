"""Random permutations, bootstrap counts, and intervals from replicates.

A bootstrap sample is kept as counts (how often each unit was drawn), so that a kernel can weight what it
computed once and never has to compare a unit with its own copy. Every draw takes a generator and is made on
the CPU, so that the same seed gives the same draw on every device.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import torch
from torch import Tensor


@dataclass(frozen=True)
class Interval:
    """Estimates with confidence intervals; all tensors have the same shape.

    Attributes:
        estimate: Value on the sample itself.
        low: Lower end of the interval, NaN where fewer than two replicates are defined.
        high: Upper end.
        standard_error: Standard deviation of the replicates.
        n_defined: Number of replicates that are not NaN, int64.
    """

    estimate: Tensor
    low: Tensor
    high: Tensor
    standard_error: Tensor
    n_defined: Tensor


def draw_permutations(n_units: int, n_permutations: int, *, generator: torch.Generator) -> Tensor:
    """Draw independent permutations, int64, shape (n_permutations, n_units)."""
    return torch.rand(n_permutations, n_units, generator=generator, dtype=torch.float64).argsort(dim=1)


def draw_permutations_within(strata: Tensor, n_permutations: int, *, generator: torch.Generator) -> Tensor:
    """Draw permutations that move units only among units of the same stratum.

    Args:
        strata: Label of each unit, int64, shape (n_units,).
        n_permutations: How many to draw.
        generator: Source of randomness (CPU).

    Returns:
        Permutations, int64, shape (n_permutations, n_units): place i is taken by unit ``permutations[k, i]``.
    """
    drawn = torch.arange(len(strata)).repeat(n_permutations, 1)
    for label in sorted(set(strata.tolist())):
        units = (strata.cpu() == label).nonzero().flatten()
        drawn[:, units] = units[draw_permutations(len(units), n_permutations, generator=generator)]
    return drawn


def list_permutations_within(strata: Tensor) -> Tensor:
    """List all permutations that move units only among units of the same stratum, the identity first.

    Args:
        strata: Label of each unit, int64, shape (n_units,).

    Returns:
        Permutations, int64, shape (n_orders, n_units), as in ``draw_permutations_within``.
    """
    listed = torch.arange(len(strata))[None]
    for label in sorted(set(strata.tolist())):
        units = (strata.cpu() == label).nonzero().flatten()
        orders = units[torch.tensor(list(permutations(range(len(units)))))]
        listed = listed.repeat_interleave(len(orders), dim=0)
        listed[:, units] = orders.repeat(len(listed) // len(orders), 1)
    return listed


def draw_bootstrap_counts(strata: Tensor, n_replicates: int, *, generator: torch.Generator) -> Tensor:
    """Draw bootstrap samples within strata: how often each unit is in each replicate.

    Args:
        strata: Label of each unit, int64, shape (n_units,); as many units are drawn (with replacement) from
            each stratum as it has. All zeros: a plain bootstrap.
        n_replicates: How many samples to draw.
        generator: Source of randomness (CPU).

    Returns:
        Counts, int64, shape (n_replicates, n_units); they sum to the size of the stratum over each stratum.
    """
    counts = torch.zeros(n_replicates, len(strata), dtype=torch.int64)
    for label in sorted(set(strata.tolist())):
        units = (strata.cpu() == label).nonzero().flatten()
        drawn = units[torch.randint(len(units), (n_replicates, len(units)), generator=generator)]
        counts.scatter_add_(1, drawn, torch.ones_like(drawn))
    return counts


def summarise_replicates(replicates: Tensor, estimate: Tensor, *, confidence: float = 0.95) -> Interval:
    """Turn replicates into confidence intervals, the quantiles of the replicates ("percentile").

    Args:
        replicates: Values on resampled data, shape (n_replicates, ...); NaN where undefined, and then left
            out.
        estimate: Value on the sample itself, shape (...).
        confidence: Nominal coverage, above 0 and below 1.

    Returns:
        Estimates, ends, standard errors and counts, each of shape (...).

    Raises:
        ValueError: If the confidence is not between 0 and 1.

    Source: Davison & Hinkley 1997, Bootstrap Methods and their Application, section 5.2.

    Example:
        >>> interval = summarise_replicates(torch.arange(101.0), torch.tensor(40.0), confidence=0.5)
        >>> interval.low.item(), interval.high.item()
        (25.0, 75.0)
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence}")
    replicates, estimate = replicates.double(), estimate.double()
    n_defined = (~replicates.isnan()).sum(dim=0)
    mean = replicates.nansum(dim=0) / n_defined
    deviations = torch.where(replicates.isnan(), 0.0, replicates - mean)
    standard_error = (deviations.square().sum(dim=0) / (n_defined - 1)).sqrt()
    tail = (1 - confidence) / 2
    low, high = _quantiles(replicates, n_defined, (tail, 1 - tail))
    too_few = n_defined < 2
    low, high, standard_error = (torch.where(too_few, torch.nan, t) for t in (low, high, standard_error))
    return Interval(estimate, low, high, standard_error, n_defined)


def _quantiles(replicates: Tensor, n_defined: Tensor, levels: Sequence[float]) -> list[Tensor]:
    """Return quantiles along the first axis without NaN, linear between order statistics."""
    ordered = replicates.sort(dim=0).values  # NaN come last
    found = []
    for level in levels:
        place = (n_defined - 1).clamp(min=0).double() * level
        below, above = place.floor().long()[None], place.ceil().long()[None]
        low, high = ordered.gather(0, below)[0], ordered.gather(0, above)[0]
        found.append(low + (place - place.floor()) * (high - low))
    return found
