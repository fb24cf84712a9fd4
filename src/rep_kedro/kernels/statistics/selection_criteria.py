"""Does a criterion that needs no labels choose the network that performs best?

Correlations of the criterion with performance over trained networks ("runs"), their intervals, and what is
lost by taking the network that the criterion prefers. For all bootstrap resamples together, Kendall's tau is
a product of counts with one matrix of concordances.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from rep_kedro.kernels.statistics.correlation import RELATIVE_ZERO, average_ranks, is_constant

COEFFICIENTS = ("pearson", "pearson_log2", "spearman", "kendall")


@dataclass(frozen=True)
class Correlation:
    """One coefficient, with its interval and test; NaN where it is undefined.

    Attributes:
        value: In [-1, 1].
        p_value: Two-sided: Student's t for Pearson and Spearman, exact or normal for Kendall.
        low: Lower end of the percentile interval over resampled runs.
        high: Its upper end.
    """

    value: float
    p_value: float
    low: float
    high: float


def correlate_criterion(
    criterion: Tensor, performance: Tensor, counts: Tensor, *, confidence: float = 0.95
) -> dict[str, Correlation]:
    """Correlate a criterion with performance over runs.

    Args:
        criterion: One finite value for each run, shape (n_runs,).
        performance: The same runs' performance, shape (n_runs,).
        counts: How often each resample draws each run, int64, shape (n_resamples, n_runs); no rows for no
            intervals.
        confidence: Of the intervals.

    Returns:
        A correlation for each of `COEFFICIENTS`. `pearson_log2` is Pearson's r of log2 of the criterion,
        undefined if a value is not positive; `kendall` is tau-b. A coefficient is NaN for fewer than three
        runs or if either side is constant; an interval leaves out resamples in which one is.

    Cost: n_resamples * n_runs^2.

    Source: Garrido et al. 2023, arXiv:2210.02885, section 4 (rank against performance); Kendall 1945,
        Biometrika 33:239.

    Example:
        >>> rank, accuracy = torch.tensor([1.0, 2.0, 4.0, 8.0]), torch.tensor([1.0, 2.0, 4.0, 3.0])
        >>> found = correlate_criterion(rank, accuracy, torch.ones(0, 4, dtype=torch.int64))
        >>> round(found["pearson_log2"].value, 4), round(found["kendall"].value, 4)
        (0.8, 0.6667)
    """
    import scipy.stats

    x, y = criterion.double(), performance.double()
    logs = torch.where(x > 0, x, torch.nan).log2()
    tests = {
        "pearson": (scipy.stats.pearsonr, x),
        "pearson_log2": (scipy.stats.pearsonr, logs),
        "spearman": (scipy.stats.spearmanr, x),
        "kendall": (scipy.stats.kendalltau, x),
    }
    found = {}
    for name, (test, values) in tests.items():
        if len(values) < 3 or not bool(values.isfinite().all()) or _is_flat(values) or _is_flat(y):
            found[name] = Correlation(*(torch.nan,) * 4)
            continue
        value, p_value = (float(number) for number in test(values.numpy(), y.numpy()))
        low, high = _percentiles(_resample(name, values, y, counts), confidence)
        found[name] = Correlation(value, p_value, low, high)
    return found


@dataclass(frozen=True)
class Choice:
    """Which run a criterion prefers, and what that loses.

    Attributes:
        chosen: Index of the run that the criterion takes.
        best: Index of the run that performs best.
        regret: Performance of the best minus that of the chosen run, 0 or more.
        n_plateau: Runs whose criterion equals the largest within the tolerance.
    """

    chosen: int
    best: int
    regret: float
    n_plateau: int


def choose_by_criterion(
    criterion: Tensor, performance: Tensor, order: Tensor, *, tolerance: float = 0.0
) -> Choice:
    """Take the run with the largest criterion; on a plateau the first in the order of the swept setting.

    Args:
        criterion: Larger is better, finite, shape (n_runs,), n_runs >= 1.
        performance: Finite, shape (n_runs,).
        order: Values of the swept setting, shape (n_runs,); the smallest counts as first.
        tolerance: A run is on the plateau if its criterion is at least the largest minus this share of it.

    Returns:
        The choice; of runs with equal performance the first in the order is the best.

    Source: Garrido et al. 2023, arXiv:2210.02885, figure 4 (the plateau rule).

    Example:
        >>> ranks, accuracies = torch.tensor([90.0, 99.0, 100.0]), torch.tensor([0.3, 0.5, 0.4])
        >>> choose_by_criterion(ranks, accuracies, torch.arange(3), tolerance=0.05)
        Choice(chosen=1, best=1, regret=0.0, n_plateau=2)
    """
    everyone = torch.ones(1, len(criterion), dtype=torch.bool)
    chosen, best, n_plateau = _choose(criterion, performance, order, everyone, tolerance)
    y = performance.double()
    return Choice(int(chosen), int(best), float(y[best] - y[chosen]), int(n_plateau))


def resample_regret(
    criterion: Tensor, performance: Tensor, order: Tensor, counts: Tensor, *, tolerance: float = 0.0
) -> Tensor:
    """Return the regret of `choose_by_criterion` among the runs of each resample.

    Args:
        criterion: Shape (n_runs,).
        performance: Shape (n_runs,).
        order: Shape (n_runs,).
        counts: How often each resample draws each run, int64, shape (n_resamples, n_runs).
        tolerance: Of the plateau.

    Returns:
        Regrets, 0 or more, float64, shape (n_resamples,).
    """
    chosen, best, _ = _choose(criterion, performance, order, counts > 0, tolerance)
    y = performance.double()
    return y[best] - y[chosen]


def _choose(
    criterion: Tensor, performance: Tensor, order: Tensor, drawn: Tensor, tolerance: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the chosen and the best run and the size of the plateau for each row of drawn runs."""
    x = torch.where(drawn, criterion.double(), -torch.inf)
    y = torch.where(drawn, performance.double(), -torch.inf)
    largest = x.amax(dim=1, keepdim=True)
    plateau = x >= largest - tolerance * largest.abs()
    place = average_ranks(order.double())
    chosen = torch.where(plateau, place, torch.inf).argmin(dim=1)
    best = torch.where(y == y.amax(dim=1, keepdim=True), place, torch.inf).argmin(dim=1)
    return chosen, best, plateau.sum(dim=1)


def spread_of_replicates(values: Tensor, settings: Tensor) -> tuple[float, int]:
    """Return the standard deviation of runs with equal settings, pooled, and their number.

    Args:
        values: Shape (n_runs,).
        settings: Index of each run's settings, int64, shape (n_runs,).

    Returns:
        Square root of the summed squared deviations from each setting's mean, divided by the degrees of
        freedom: runs minus settings, of those with several runs. NaN and 0 if no setting has several runs.
    """
    x = values.double()
    n_settings = int(settings.max()) + 1 if len(settings) else 0
    n = torch.zeros(n_settings, dtype=torch.float64).index_add_(0, settings, torch.ones_like(x))
    mean = torch.zeros(n_settings, dtype=torch.float64).index_add_(0, settings, x) / n
    several = n[settings] > 1
    freedom = int(several.sum()) - int((n > 1).sum())
    if freedom < 1:
        return torch.nan, 0
    squares = (x - mean[settings])[several].square().sum()
    return float((squares / freedom).sqrt()), int(several.sum())


def _resample(name: str, x: Tensor, y: Tensor, counts: Tensor) -> Tensor:
    """Return the coefficient of each resample, NaN where one side of it is constant."""
    if name == "kendall":
        return _weighted_kendall(x, y, counts.double())
    rows = torch.repeat_interleave(torch.arange(len(x)).repeat(len(counts)), counts.flatten())
    rows = rows.reshape(len(counts), -1)
    a, b = x[rows], y[rows]
    everything = torch.ones_like(a, dtype=torch.bool)
    undefined = is_constant(a, everything) | is_constant(b, everything)
    if name == "spearman":
        a, b = average_ranks(a), average_ranks(b)
    a, b = a - a.mean(dim=1, keepdim=True), b - b.mean(dim=1, keepdim=True)
    cosine = (a * b).sum(dim=1) / (a.square().sum(dim=1) * b.square().sum(dim=1)).sqrt()
    return torch.where(undefined, torch.nan, cosine.clamp(-1, 1))


def _weighted_kendall(x: Tensor, y: Tensor, counts: Tensor) -> Tensor:
    """Return tau-b of each resample; copies of one run are tied with each other."""
    signs_x, signs_y = (torch.sign(v[:, None] - v) for v in (x, y))
    concordance, n_x, n_y = (
        ((counts @ pairs) * counts).sum(dim=1) for pairs in (signs_x * signs_y, signs_x.abs(), signs_y.abs())
    )
    return concordance / (n_x * n_y).sqrt()  # 0 / 0 where all are tied


def _percentiles(values: Tensor, confidence: float) -> tuple[float, float]:
    defined = values[values.isfinite()]
    if len(defined) == 0:
        return torch.nan, torch.nan
    ends = torch.tensor([(1 - confidence) / 2, (1 + confidence) / 2], dtype=torch.float64)
    low, high = torch.quantile(defined, ends).tolist()
    return low, high


def _is_flat(values: Tensor) -> bool:
    return bool(values.max() - values.min() <= RELATIVE_ZERO * values.abs().max())
