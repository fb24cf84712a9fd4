"""Agreement of two similarity measures: correlations over model pairs, with intervals for dependent pairs.

Pairs share networks and pairs of stimulus sets share sets, so networks and sets are resampled, not pairs: a
pair counts as often as both of its units were drawn, and never if they are one unit.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rep_kedro.kernels.statistics.correlation import correlate_rows, is_constant
from rep_kedro.kernels.statistics.resampling import Interval, summarise_replicates

MIN_POINTS = 3  # two points are always on a line
ONE_SET_PAIR = "no interval: one pair of stimulus sets leaves nothing to resample"
ONE_DRAW = "no interval: with so few networks every sample that has enough pairs is the given one"
REASONS = (
    "",
    f"fewer than {MIN_POINTS} values defined under both measures",
    "the values of the first measure do not vary",
    "the values of the second measure do not vary",
    "the values of neither measure vary",
)


@dataclass(frozen=True)
class Agreement:
    """How two lists of values go together.

    Attributes:
        n: Points with both values.
        pearson: Correlation in [-1, 1], NaN where undefined.
        spearman: The same of ranks.
        interval: Of Pearson's r, from resampled units; NaN without replicates or units to resample.
        reason: Why there is no correlation, or no interval from the replicates; else empty.
    """

    n: int
    pearson: float
    spearman: float
    interval: Interval
    reason: str


def compare_mean_similarities(
    first: Tensor,
    second: Tensor,
    *,
    model_counts: Tensor,
    set_counts: Tensor,
    confidence: float = 0.95,
) -> Agreement:
    """Correlate two measures over pairs of models, each pair with its mean over stimulus sets.

    A pair whose similarity is missing on any set, under either measure, is left out: all means are over the
    same sets.

    Args:
        first: Similarities under one measure, shape (n_sets, n_models, n_models), symmetric; NaN where
            missing.
        second: The same under the other, same sets and models.
        model_counts: How often each model is in each replicate, shape (n_replicates, n_models); no
            replicates: no interval.
        set_counts: How often each stimulus set is in each replicate, shape (n_replicates, n_sets).
        confidence: Nominal coverage of the interval, above 0 and below 1.

    Returns:
        Correlations and the interval over models and stimulus sets; none where models cannot be resampled,
        such as three, of which a sample has all pairs or too few.

    Raises:
        ValueError: If the two have different shapes.
    """
    if first.shape != second.shape:
        raise ValueError(f"measures must have one shape, got {tuple(first.shape)} and {tuple(second.shape)}")
    one, other = torch.triu_indices(first.shape[1], first.shape[1], offset=1)
    rows = torch.stack([first[:, one, other], second[:, one, other]]).double()
    complete = ~rows.isnan().any(dim=(0, 1))
    rows, one, other = rows[:, :, complete], one[complete], other[complete]
    weights = (model_counts[:, one] * model_counts[:, other]).double()
    shares = set_counts.double() / set_counts.sum(dim=1, keepdim=True)
    replicates = correlate_weighted(shares @ rows[0], shares @ rows[1], weights)
    found = _summarise(rows.mean(dim=1), replicates, confidence)
    drawn = weights[replicates.isfinite()]
    if found.reason or not len(drawn) or (drawn != drawn[0]).any():
        return found
    return replace(_summarise(rows.mean(dim=1), replicates[:0], confidence), reason=ONE_DRAW)


def compare_values_of_set_pairs(
    first: Tensor, second: Tensor, set_pairs: Tensor, *, set_counts: Tensor, confidence: float = 0.95
) -> Agreement:
    """Correlate two lists of values that belong to pairs of stimulus sets, such as consistency values.

    Only the stimulus sets are resampled: the interval is about other images for these networks.

    Args:
        first: Values under one measure, shape (n_values,); NaN where missing.
        second: The same under the other.
        set_pairs: The two stimulus sets of each value, int64, shape (2, n_values); a pair may come several
            times.
        set_counts: How often each stimulus set is in each replicate, shape (n_replicates, n_sets).
        confidence: Nominal coverage of the interval, above 0 and below 1.

    Returns:
        Correlations and the interval over stimulus sets; replicates with fewer than two different sets are
        left out. Values of a single pair of sets have no interval: every replicate is the sample itself.

    Raises:
        ValueError: If the two have different shapes.
    """
    if first.shape != second.shape:
        raise ValueError(f"measures must have one shape, got {tuple(first.shape)} and {tuple(second.shape)}")
    rows = torch.stack([first, second]).double()
    complete = ~rows.isnan().any(dim=0)
    rows, (one, other) = rows[:, complete], set_pairs[:, complete]
    weights = (set_counts[:, one] * set_counts[:, other]).double()
    replicates = correlate_weighted(rows[:1].expand(len(weights), -1), rows[1:], weights)
    found = _summarise(rows, replicates, confidence)
    if (
        len(set(map(frozenset, set_pairs[:, complete].T.tolist()))) != 1
        or found.reason
        or not len(replicates)
    ):
        return found
    return replace(_summarise(rows, replicates[:0], confidence), reason=ONE_SET_PAIR)


def correlate_weighted(first: Tensor, second: Tensor, weights: Tensor) -> Tensor:
    """Return Pearson's r of each two rows whose entries count ``weights`` times.

    Args:
        first: Finite numbers, shape (n_replicates, n), or one row for all.
        second: The same.
        weights: Not negative, shape (n_replicates, n).

    Returns:
        Correlations in [-1, 1], float64, shape (n_replicates,); NaN where fewer than three entries count, or
        the counted ones of a row do not vary.

    Example:
        >>> x, y = torch.tensor([[1.0, 2.0, 3.0, 9.0]]), torch.tensor([[2.0, 4.0, 6.0, 0.0]])
        >>> correlate_weighted(x, y, torch.tensor([[1.0, 2.0, 1.0, 0.0]])).round(decimals=9).tolist()
        [1.0]
    """
    if weights.shape[1] == 0:
        return weights.new_full((len(weights),), torch.nan, dtype=torch.float64)
    weights = weights.double()
    counted = weights > 0
    shares = weights / weights.sum(dim=1, keepdim=True)
    prepared = []
    for values in (first.double(), second.double()):
        centred = torch.where(counted, values - (shares * values).sum(dim=1, keepdim=True), 0.0)
        constant = is_constant(values.expand(weights.shape), counted)
        scale = centred.abs().amax(dim=1, keepdim=True)
        prepared.append(torch.where(constant[:, None], torch.nan, centred / scale) * shares.sqrt())
    x, y = prepared
    r = ((x * y).sum(dim=1) / (x.norm(dim=1) * y.norm(dim=1))).clamp(-1, 1)
    return torch.where(counted.sum(dim=1) < MIN_POINTS, torch.nan, r)


def _summarise(rows: Tensor, replicates: Tensor, confidence: float) -> Agreement:
    """Correlate the two rows (2, n), and turn the replicates into an interval."""
    valid = torch.ones_like(rows[:1], dtype=torch.bool)
    constant = is_constant(rows, valid)
    code = int(constant[0]) + 2 * int(constant[1])
    code = 1 if rows.shape[1] < MIN_POINTS else code + (code > 0)
    pearson, spearman = (
        float(correlate_rows(rows[None], valid, coefficient=name)[0, 0, 1]) if not code else torch.nan
        for name in ("pearson", "spearman")
    )
    if not len(replicates) or code:
        replicates = torch.full((1,), torch.nan, dtype=torch.float64)
    interval = summarise_replicates(replicates, torch.tensor(pearson), confidence=confidence)
    return Agreement(rows.shape[1], pearson, spearman, interval, REASONS[code])
