"""Does a criterion that needs no labels choose the network that performs best?

Correlations of criteria with performance over trained networks ("runs"), their intervals, and what is lost by
taking the network that a criterion prefers. All criteria and all bootstrap resamples are computed together;
Kendall's tau of a resample is a product of its counts with a matrix of concordances.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rep_kedro.kernels.statistics.correlation import average_ranks, is_constant
from rep_kedro.kernels.statistics.resampling import summarise_replicates

COEFFICIENTS = ("pearson", "pearson_log2", "spearman", "kendall")
FEWEST_RUNS = 3
_ENTRIES_PER_BLOCK = 2**22  # criteria x resamples x runs in memory at once, float64


@dataclass(frozen=True)
class Correlations:
    """One coefficient of each criterion, with intervals and tests; NaN where it is undefined.

    Attributes:
        value: In [-1, 1], float64, shape (n_criteria,).
        p_value: Two-sided: Student's t for Pearson and Spearman, exact or normal for Kendall.
        low: Lower ends of the percentile intervals over resampled runs.
        high: Their upper ends.
    """

    value: Tensor
    p_value: Tensor
    low: Tensor
    high: Tensor


def correlate_criteria(
    criteria: Tensor, performance: Tensor, counts: Tensor, *, confidence: float = 0.95
) -> dict[str, Correlations]:
    """Correlate criteria with performance over runs.

    Args:
        criteria: One finite value for each run, shape (n_criteria, n_runs).
        performance: The same runs' performance, shape (n_runs,).
        counts: How often each resample draws each run, int64, shape (n_resamples, n_runs); no rows for no
            intervals.
        confidence: Of the intervals.

    Returns:
        Correlations for each of `COEFFICIENTS`. `pearson_log2` is Pearson's r of log2 of the criterion,
        undefined if a value is not positive; `kendall` is tau-b. A coefficient is NaN for fewer than three
        runs or if either side is constant; an interval leaves out resamples in which one is, and is NaN
        where fewer than two remain.

    Cost: n_criteria * n_resamples * n_runs^2.

    Source: Garrido et al. 2023, arXiv:2210.02885, section 4 (rank against performance); Kendall 1945,
        Biometrika 33:239.

    Example:
        >>> ranks, accuracy = torch.tensor([[1.0, 2.0, 4.0, 8.0]]), torch.tensor([1.0, 2.0, 4.0, 3.0])
        >>> found = correlate_criteria(ranks, accuracy, torch.ones(0, 4, dtype=torch.int64))
        >>> round(found["pearson_log2"].value.item(), 4), round(found["kendall"].value.item(), 4)
        (0.8, 0.6667)
    """
    x, y = criteria.double(), performance.double()
    logs = torch.where(x > 0, x, torch.nan).log2()
    return {
        name: _correlate(name, logs if name == "pearson_log2" else x, y, counts, confidence)
        for name in COEFFICIENTS
    }


def _correlate(name: str, x: Tensor, y: Tensor, counts: Tensor, confidence: float) -> Correlations:
    n_criteria, n_runs = x.shape
    found = torch.full((4, n_criteria), torch.nan, dtype=torch.float64)
    finite = x.isfinite().all(dim=1)
    usable = finite & ~is_constant(x, finite[:, None])
    if n_runs < FEWEST_RUNS or bool(is_constant(y, torch.tensor(True))) or not bool(usable.any()):
        return Correlations(*found)
    x = x[usable]
    value, p_value = _test_kendall(x, y) if name == "kendall" else _test_linear(name, x, y)
    low, high = _intervals(name, x, y, counts, confidence)
    found[:, usable] = torch.stack([value, p_value, low, high])
    return Correlations(*found)


def _test_linear(name: str, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return Pearson's r (of ranks for Spearman) and its p-value under independent normal values."""
    from scipy.special import betainc

    if name == "spearman":
        x, y = average_ranks(x), average_ranks(y)
    value = _cosine_of_centred(x, y)
    half = x.shape[1] / 2 - 1  # r is distributed as 2 * Beta(half, half) - 1, equal to Student's t
    p_value = 2 * betainc(half, half, (1 - value.abs().numpy()) / 2)
    return value, torch.from_numpy(np.minimum(p_value, 1.0))


def _test_kendall(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    from scipy.stats import kendalltau

    tests = [kendalltau(row.numpy(), y.numpy()) for row in x]
    value, p_value = torch.tensor([tuple(map(float, test)) for test in tests], dtype=torch.float64).T
    return value, p_value


def _intervals(name: str, x: Tensor, y: Tensor, counts: Tensor, confidence: float) -> tuple[Tensor, Tensor]:
    if len(counts) == 0:
        return torch.full((len(x),), torch.nan), torch.full((len(x),), torch.nan)
    replicates = torch.cat(list(_resample(name, x, y, counts)))
    interval = summarise_replicates(replicates.T, torch.zeros(len(x)), confidence=confidence)
    return interval.low, interval.high


def _resample(name: str, x: Tensor, y: Tensor, counts: Tensor) -> Iterator[Tensor]:
    """Yield coefficients of blocks of criteria, (criteria, n_resamples), NaN where one side is constant."""
    rows = torch.repeat_interleave(torch.arange(len(y)).repeat(len(counts)), counts.flatten())
    rows = rows.reshape(len(counts), -1)
    resampled = y[rows]
    flat = is_constant(resampled, torch.tensor(True))
    if name == "spearman":
        resampled = average_ranks(resampled)
    for block in torch.split(x, max(1, _ENTRIES_PER_BLOCK // rows.numel())):
        if name == "kendall":
            yield _weighted_kendall(block, y, counts.double())
            continue
        drawn = block[:, rows]
        undefined = is_constant(drawn, torch.tensor(True)) | flat
        if name == "spearman":
            drawn = average_ranks(drawn)
        yield torch.where(undefined, torch.nan, _cosine_of_centred(drawn, resampled))


def _cosine_of_centred(x: Tensor, y: Tensor) -> Tensor:
    """Return the cosine along the last axis, NaN where a side is constant; scaled, so no square overflows."""
    a, b = (v - v.mean(dim=-1, keepdim=True) for v in (x, y))
    a, b = (v / v.abs().amax(dim=-1, keepdim=True) for v in (a, b))
    cosine = (a * b).sum(dim=-1) / (a.square().sum(dim=-1) * b.square().sum(dim=-1)).sqrt()
    return cosine.clamp(-1, 1)


def _weighted_kendall(x: Tensor, y: Tensor, counts: Tensor) -> Tensor:
    """Return tau-b of each criterion and resample; copies of one run are tied with each other."""
    signs_x, signs_y = (torch.sign(v[..., :, None] - v[..., None, :]) for v in (x, y))
    concordance, n_x, n_y = (
        ((counts @ pairs) * counts).sum(dim=-1) for pairs in (signs_x * signs_y, signs_x.abs(), signs_y.abs())
    )
    return concordance / (n_x * n_y).sqrt()  # 0 / 0 where all are tied


@dataclass(frozen=True)
class Choices:
    """Which run each criterion prefers, and what that loses; tensors of shape (n_criteria,).

    Attributes:
        chosen: Index of the run that the criterion takes.
        best: Index of the run that performs best.
        regret: Performance of the best minus that of the chosen run, 0 or more.
        n_plateau: Runs whose criterion equals the largest within the tolerance.
    """

    chosen: Tensor
    best: Tensor
    regret: Tensor
    n_plateau: Tensor


def choose_by_criteria(
    criteria: Tensor, performance: Tensor, order: Tensor, *, tolerance: float = 0.0
) -> Choices:
    """Take the run with the largest criterion; on a plateau the first in the order of the swept setting.

    Args:
        criteria: Larger is better, finite, shape (n_criteria, n_runs), n_runs >= 1.
        performance: Finite, shape (n_runs,).
        order: Values of the swept setting, shape (n_runs,); the smallest counts as first.
        tolerance: A run is on the plateau if its criterion is at least the largest minus this share of it.

    Returns:
        The choices; of runs with equal performance the first in the order is the best.

    Source: Garrido et al. 2023, arXiv:2210.02885, figure 4 (the plateau rule).

    Example:
        >>> ranks, accuracies = torch.tensor([[90.0, 99.0, 100.0]]), torch.tensor([0.3, 0.5, 0.4])
        >>> found = choose_by_criteria(ranks, accuracies, torch.arange(3), tolerance=0.05)
        >>> found.chosen.tolist(), found.regret.tolist(), found.n_plateau.tolist()
        ([1], [0.0], [2])
    """
    everyone = torch.ones(1, len(performance), dtype=torch.bool)
    found = _choose(criteria, performance, order, everyone, tolerance)
    chosen, best, n_plateau = (each.squeeze(-1) for each in found)
    y = performance.double()
    return Choices(chosen, best, y[best] - y[chosen], n_plateau)


def resample_regret(
    criteria: Tensor, performance: Tensor, order: Tensor, counts: Tensor, *, tolerance: float = 0.0
) -> Tensor:
    """Return the regret of `choose_by_criteria` among the runs of each resample.

    Args:
        criteria: Shape (n_criteria, n_runs).
        performance: Shape (n_runs,).
        order: Shape (n_runs,).
        counts: How often each resample draws each run, int64, shape (n_resamples, n_runs).
        tolerance: Of the plateau.

    Returns:
        Regrets, 0 or more, float64, shape (n_criteria, n_resamples).
    """
    y, drawn = performance.double(), counts > 0
    regrets = []
    for block in torch.split(criteria, max(1, _ENTRIES_PER_BLOCK // max(1, counts.numel()))):
        chosen, best, _ = _choose(block, y, order, drawn, tolerance)
        regrets.append(y[best] - y[chosen])
    return torch.cat(regrets)


def _choose(
    criteria: Tensor, performance: Tensor, order: Tensor, drawn: Tensor, tolerance: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return chosen and best run and size of the plateau, each of shape (n_criteria, rows of drawn runs)."""
    x = torch.where(drawn, criteria.double()[:, None], -torch.inf)
    y = torch.where(drawn, performance.double(), -torch.inf)
    largest = x.amax(dim=-1, keepdim=True)
    plateau = x >= largest - tolerance * largest.abs()
    place = average_ranks(order.double())
    chosen = torch.where(plateau, place, torch.inf).argmin(dim=-1)
    best = torch.where(y == y.amax(dim=-1, keepdim=True), place, torch.inf).argmin(dim=-1)
    return chosen, best.expand_as(chosen), plateau.sum(dim=-1)


def spread_of_replicates(values: Tensor, settings: Tensor) -> tuple[Tensor, int]:
    """Return the standard deviation of runs with equal settings, pooled, and their number.

    Args:
        values: Shape (..., n_runs).
        settings: Index of each run's settings, int64, shape (n_runs,).

    Returns:
        Square roots, shape (...), of the summed squared deviations from each setting's mean, divided by the
        degrees of freedom: runs minus settings, of those with several runs. NaN and 0 if no setting has
        several runs.
    """
    x = values.double()
    belongs = torch.nn.functional.one_hot(settings).double()  # (n_runs, n_settings)
    n = belongs.sum(dim=0)
    several = n[settings] > 1
    freedom = int(several.sum()) - int((n > 1).sum())
    if freedom < 1:
        return torch.full(x.shape[:-1], torch.nan, dtype=torch.float64), 0
    mean = (x @ belongs) / n
    squares = (x - mean[..., settings])[..., several].square().sum(dim=-1)
    return (squares / freedom).sqrt(), int(several.sum())
