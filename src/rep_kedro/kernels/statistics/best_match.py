"""The most similar member of a group of representations, such as the layers of another network.

The largest of many similarities is large by chance as well. So it is compared with the largest of the same
similarities under each permutation of the stimuli, which moves all representations of a group at once.
Distances take part with their sign turned round: larger is then the more similar.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rep_kedro.kernels.statistics.calibration import (
    CalibratedSimilarity,
    adjust_by_maximum,
    calibrate,
)
from rep_kedro.kernels.statistics.resampling import summarise_replicates


@dataclass(frozen=True)
class PairValues:
    """Values of pairs of representations, larger is more similar.

    Attributes:
        observed: Shape (n_rows, n_columns), float64; minus infinity or NaN where undefined.
        null: Under permutations of the stimuli, shape (n_permutations, n_rows, n_columns); may be empty.
        replicates: In resamples of the stimuli, shape (n_bootstrap, n_rows, n_columns); may be empty.
    """

    observed: Tensor
    null: Tensor
    replicates: Tensor

    def map(self, function: Callable[[Tensor], Tensor]) -> "PairValues":
        """Apply a function to all three."""
        return PairValues(function(self.observed), function(self.null), function(self.replicates))

    def without_undefined(self) -> "PairValues":
        """Return minus infinity where the observed value is undefined: it is never the largest."""
        undefined = self.observed.isnan()
        return self.map(lambda values: values.masked_fill(undefined, -torch.inf))


@dataclass(frozen=True)
class Matches:
    """The best matches of rows in groups of columns; all of one shape, float64 where nothing else is said.

    Attributes:
        row: Row of the most similar pair, int64; -1 where no value is defined.
        column: Its column, int64; -1 where no value is defined.
        similarity: Its value, NaN where none is defined.
        n_compared: From how many pairs it is the most similar, int64.
        low: Lower end of the interval of that pair; NaN without resamples.
        high: Upper end.
        support: Share of the resamples in which that pair is the most similar one; NaN without resamples.
        p_value: Of the largest value; NaN without permutations.
        p_adjusted: The same corrected by the largest null value of all matches (maxT, step down).
        threshold: Value that the largest exceeds with a chance of at most ``level`` in unrelated groups.
        calibrated: Share of the way from the threshold to the largest possible value, 0 below it.
    """

    row: Tensor
    column: Tensor
    similarity: Tensor
    n_compared: Tensor
    low: Tensor
    high: Tensor
    support: Tensor
    p_value: Tensor
    p_adjusted: Tensor
    threshold: Tensor
    calibrated: Tensor

    @property
    def mT(self) -> "Matches":  # noqa: N802 - as of tensors
        """The same with rows and columns exchanged in every field."""
        return Matches(*(tensor.mT for tensor in vars(self).values()))


@dataclass(frozen=True)
class Certainty:
    """How sure matches are to be.

    Attributes:
        confidence: Coverage that intervals aim at.
        level: Chance of unrelated groups to exceed the threshold.
        largest: Largest possible value of the measure.
        smallest_share: A pair has an interval if its value is defined in this share of the resamples.
    """

    confidence: float = 0.95
    level: float = 0.05
    largest: float = 1.0
    smallest_share: float = 0.9


def match_groups(values: PairValues, groups: Tensor, certainty: Certainty) -> tuple[Matches, Matches]:
    """Find the best match of every representation in every other group, and of every two groups.

    Args:
        values: Of all pairs of n representations; NaN where undefined, which takes no part.
        groups: Group of each representation, int64, shape (n,), numbered from 0; each has a member.
        certainty: Of intervals and thresholds.

    Returns:
        Matches of each representation (row) with each group, shape (n, n_groups), and the most similar pair
        of each two groups, shape (n_groups, n_groups), its row from the first. P-values of the former are
        corrected for all of them, those of the latter for all pairs of groups (a pair in both orders changes
        no maximum). A group with itself has no match: NaN and -1.

    Raises:
        ValueError: As ``calibrate``.

    Source: Groeger, Wen & Brbic 2026, arXiv:2602.14486 (the largest over layers, and its null); Westfall &
        Young 1993 (correction); Davison & Hinkley 1997, section 5.2 (percentiles).
    """
    n_groups, columns = int(groups.max()) + 1, columns_of(groups)
    is_own = groups[:, None] == torch.arange(n_groups)
    hidden = is_own[:, groups]
    values = values.map(lambda x: x.double().masked_fill(hidden, torch.nan)).without_undefined()
    rows = torch.arange(len(groups))[:, None].expand(-1, n_groups)
    of_rows = _match(values, columns, values, lambda partner: (rows, partner), certainty)

    # for each group, what each representation gives at best in it: its columns are representations again
    at_best = values.map(lambda x: largest_in_groups(x, columns).mT)

    def pair_of(best_row: Tensor) -> tuple[Tensor, Tensor]:
        return best_row, of_rows.column.mT.gather(1, best_row.clamp(min=0))

    between = _match(at_best, columns, values, pair_of, certainty).mT
    n_compared = torch.stack([of_rows.n_compared[own].sum(dim=0) for own in columns])
    return of_rows, Matches(**{**vars(between), "n_compared": n_compared})


def largest_in_groups(values: Tensor, columns: list[Tensor]) -> Tensor:
    """Return the largest value within each group of columns, (..., n_columns) to (..., n_groups)."""
    return torch.stack([values[..., own].amax(dim=-1) for own in columns], dim=-1)


def calibrate_groups(
    observed: Tensor, null: Tensor, columns: list[Tensor], *, level: float, largest: float
) -> CalibratedSimilarity:
    """Compare the largest value within each group of columns with chance.

    One permutation is applied to all columns, else the maximum would be taken over independent draws and the
    threshold be too high.

    Args:
        observed: Shape (..., n_columns); minus infinity where undefined.
        null: The same under permutations, shape (n_permutations, ..., n_columns).
        columns: Of each group.
        level: Chance of unrelated representations to exceed the threshold.
        largest: Largest possible value.

    Returns:
        P-values, thresholds and calibrated values, each of shape (..., n_groups); NaN where no value of a
        group is defined.
    """
    top = largest_in_groups(observed, columns)
    found = calibrate(top, largest_in_groups(null, columns), level=level, largest=largest)
    return CalibratedSimilarity(
        *(values.masked_fill(top.isneginf(), torch.nan) for values in vars(found).values())
    )


def columns_of(groups: Tensor) -> list[Tensor]:
    """Return the columns of each group, in their order."""
    return [(groups == group).nonzero().flatten() for group in range(int(groups.max()) + 1)]


def _match(
    searched: PairValues,
    columns: list[Tensor],
    pairs: PairValues,
    pair_of: Callable[[Tensor], tuple[Tensor, Tensor]],
    certainty: Certainty,
) -> Matches:
    """Find the largest value of each row within each group of columns.

    Args:
        searched: Values in which the largest is searched.
        columns: Of each group.
        pairs: Values of pairs of representations, for the intervals.
        pair_of: Returns the pair of representations (row, column) of the columns that were found.
        certainty: Of intervals and thresholds.
    """
    top = searched.map(lambda values: largest_in_groups(values, columns))
    nothing = top.observed.isneginf()
    found = torch.stack([own[searched.observed[:, own].argmax(dim=1)] for own in columns], dim=1)
    row, column = pair_of(found.masked_fill(nothing, -1))
    n_compared = torch.stack([(~searched.observed[:, own].isneginf()).sum(dim=1) for own in columns], dim=1)
    low, high, support, p_value, p_adjusted, threshold, calibrated = (
        torch.full(nothing.shape, torch.nan, dtype=torch.float64) for _ in range(7)
    )
    if len(pairs.replicates):
        low, high, support = _resampled(pairs.replicates[:, row, column], top, nothing, certainty)
    if len(searched.null):
        chance = calibrate_groups(
            searched.observed, searched.null, columns, level=certainty.level, largest=certainty.largest
        )
        p_value, threshold, calibrated = chance.p_value, chance.threshold, chance.calibrated
        usable = ~nothing & top.null.isfinite().all(dim=0)
        if usable.any():
            p_adjusted[usable] = adjust_by_maximum(top.observed[usable], top.null[:, usable], step_down=True)
    return Matches(
        row.masked_fill(nothing, -1), column.masked_fill(nothing, -1),
        top.observed.masked_fill(nothing, torch.nan), n_compared,
        low, high, support, p_value, p_adjusted, threshold, calibrated,
    )  # fmt: skip


def _resampled(
    replicates: Tensor, top: PairValues, nothing: Tensor, certainty: Certainty
) -> tuple[Tensor, Tensor, Tensor]:
    """Return interval and support of the chosen pairs, of which there are resampled values."""
    interval = summarise_replicates(replicates, top.observed, confidence=certainty.confidence)
    few = nothing | (interval.n_defined < certainty.smallest_share * len(replicates))
    known = ~(replicates.isnan() | top.replicates.isnan())
    support = ((replicates >= top.replicates) & known).sum(dim=0).double() / known.sum(dim=0)
    return tuple(values.masked_fill(few, torch.nan) for values in (interval.low, interval.high, support))  # type: ignore[return-value]
