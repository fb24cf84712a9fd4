"""The largest of several candidates, where it can be separated from the others.

The largest of many estimates is too large (the winner's curse), so its own interval is not informative. The
leader is compared with every other candidate on the same resamples, corrected for their number.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.special import stdtrit
from torch import Tensor

from rep_kedro.kernels.statistics.resampling import draw_bootstrap_counts

SMALLEST_SHARE = 0.5  # of the replicates must be defined for a comparison
ROUNDING = 1e-12  # of the values; a spread of their difference below it is none


@dataclass(frozen=True)
class Leader:
    """The candidate with the largest estimate, and how it compares with the others.

    Attributes:
        index: Its place among the candidates.
        rivals: Candidates that cannot be separated from it, in their order; none: the leader has won.
        margin: By how much it is larger than each candidate at least, shape (n_candidates,); 0 or less where
            the two cannot be separated, NaN where no comparison is possible, and for itself.
    """

    index: int
    rivals: tuple[int, ...]
    margin: Tensor


def find_leader(
    estimates: Tensor,
    replicates: Tensor,
    n_units: Sequence[int],
    *,
    share_units: bool = False,
    level: float = 0.05,
) -> Leader:
    """Find the candidate with the largest value, and those that may be as large.

    The leader is larger than another candidate where the difference of their estimates exceeds its standard
    error times a quantile of Student's t, one-sided at ``level`` divided by the number of candidates. So a
    leader that is not larger than all others is declared the winner with a chance of about ``level`` at most,
    however many candidates there are.

    Args:
        estimates: One value per candidate, shape (n_candidates,), without NaN; at least one.
        replicates: The same on resampled units, shape (n_replicates, n_candidates); all candidates share the
            resamples. NaN where undefined.
        n_units: How many units (networks, stimulus sets) were resampled for each candidate. A bootstrap of n
            units is too narrow by (n - 1) / n in its variance, which is made good; with one unit nothing can
            be said, nor where the difference is the same in all units: few accuracies of few images are often
            equal by chance.
        share_units: Whether all candidates were measured on the same units. Degrees of freedom are then
            n - 1, else those of Welch for two samples.
        level: Chance of a false winner.

    Returns:
        The leader and its rivals.

    Raises:
        ValueError: If shapes do not fit or an estimate is NaN.

    Source: Hsu 1984, Ann Stat 12:1136 (comparison with the best); Bonferroni in place of Dunnett's quantile;
        Welch 1947, Biometrika 34:28 (degrees of freedom).

    Example:
        >>> estimates = torch.tensor([1.0, 5.0, 4.9])
        >>> noise = torch.randn(200, 3, generator=torch.Generator().manual_seed(0)) * 0.1
        >>> found = find_leader(estimates, estimates + noise, [20, 20, 20])
        >>> found.index, found.rivals
        (1, (2,))
    """
    n = len(estimates)
    if replicates.ndim != 2 or replicates.shape[1] != n or len(n_units) != n or not n:
        raise ValueError(f"replicates must have {n} columns, one per estimate, got {tuple(replicates.shape)}")
    if estimates.isnan().any():
        raise ValueError("an estimate is NaN; leave the candidate out")
    leader = int(estimates.argmax())
    margin = torch.full((n,), torch.nan, dtype=torch.float64)
    for other in range(n):
        if other != leader:
            both = [leader, other]
            units = (n_units[leader], n_units[other])
            gap = float(estimates[leader] - estimates[other])
            margin[other] = gap - _allowance(replicates[:, both], units, share_units, level / n)
    rivals = tuple(other for other in range(n) if other != leader and not margin[other] > 0)
    return Leader(leader, rivals, margin)


def _allowance(replicates: Tensor, n_units: tuple[int, int], share_units: bool, level: float) -> float:
    """Return the difference of two candidates that chance explains; NaN where that is unknown."""
    defined = replicates[~replicates.isnan().any(dim=1)].double()
    if min(n_units) < 2 or len(defined) < max(2, SMALLEST_SHARE * len(replicates)):
        return math.nan
    fewest = min(n_units)
    spread = float((defined[:, 0] - defined[:, 1]).std())
    if spread <= ROUNDING * float(defined.abs().max()):
        return math.nan
    error = spread * math.sqrt(fewest / (fewest - 1))
    freedom = fewest - 1.0 if share_units else _welch(defined.var(dim=0).tolist(), n_units)
    return float(stdtrit(freedom, 1 - level)) * error


def _welch(variances: Sequence[float], n_units: tuple[int, int]) -> float:
    """Return the degrees of freedom of a difference of two means."""
    corrected = [variance * n / (n - 1) for variance, n in zip(variances, n_units, strict=True)]
    parts = sum(v * v / (n - 1) for v, n in zip(corrected, n_units, strict=True))
    return sum(corrected) ** 2 / parts if parts else float(min(n_units) - 1)


def resample_kinds(
    values: Tensor, masks: Tensor, strata: Tensor, *, n_replicates: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return the mean over pairs of models and stimulus sets for each kind of pair, and its replicates.

    Models are drawn within strata, stimulus sets are held fixed; a model is never compared with its own copy.
    All kinds share the draws.

    Args:
        values: One value per stimulus set and pair, shape (n_sets, n_models, n_models), symmetric, NaN where
            there is none.
        masks: Which pairs are of each kind, bool, shape (n_kinds, n_models, n_models), True above the
            diagonal only.
        strata: Label of each model, int64, shape (n_models,).
        n_replicates: How many resamples.
        generator: Draws them (CPU).

    Returns:
        Means, shape (n_kinds,), and replicates, shape (n_replicates, n_kinds); float64, NaN where a kind has
        no defined value.
    """
    drawn = draw_bootstrap_counts(strata, n_replicates, generator=generator)
    models = torch.cat([torch.ones(1, len(strata), dtype=torch.float64), drawn.double()])
    total, count = values.double().nansum(dim=0), (~values.isnan()).double().sum(dim=0)
    means = []
    for mask in masks:
        first, second = mask.nonzero(as_tuple=True)
        weights = models[:, first] * models[:, second]
        means.append((weights @ total[mask]) / (weights @ count[mask]))  # 0 / 0 is NaN
    found = torch.stack(means, dim=1)
    return found[0], found[1:]


def resample_units(values: Tensor, *, n_replicates: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the mean of each candidate over units, and its replicates on resampled units.

    Args:
        values: Shape (n_units, n_candidates); each unit was measured under every candidate; without NaN.
        n_replicates: How many resamples.
        generator: Draws them (CPU).

    Returns:
        Means, shape (n_candidates,), and replicates, shape (n_replicates, n_candidates); float64.
    """
    values = values.double()
    strata = torch.zeros(len(values), dtype=torch.int64)
    counts = draw_bootstrap_counts(strata, n_replicates, generator=generator)
    return values.mean(dim=0), counts.double() @ values / len(values)
