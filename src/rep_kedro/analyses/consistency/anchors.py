"""Anchors compared: is a network's similarity to one kind of network steadier than to another kind?"""

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.consistency.groups import ALL
from rep_kedro.analyses.consistency.study import Study, explain_small, list_studies, resample
from rep_kedro.analyses.similarity.params import ConsistencyParams
from rep_kedro.schemas.consistency import ANCHOR_COMPARISONS

if TYPE_CHECKING:
    from numpy import float64, int64
    from numpy.typing import NDArray
    from pandas import DataFrame
    from torch import Tensor

    Numbers = NDArray[float64] | NDArray[int64]
else:
    DataFrame = Numbers = Tensor = Any  # so that Kedro can read the hints

_log = logging.getLogger(__name__)
NO_INTERVAL = "no interval: most samples of its networks have fewer than three pairs"


@dataclass(frozen=True)
class _Spread:
    """Consistency of an anchor with the networks of one value.

    Attributes:
        values: Defined correlations over pairs of stimulus sets, shape (n_defined,).
        replicates: Their median in each bootstrap sample, shape (n_bootstrap,); one NaN without bootstrap.
        reason: Why there is none.
    """

    values: Tensor
    replicates: Tensor
    reason: str

    def has_interval(self) -> bool:
        """Return whether enough replicates are defined; three networks give the sample itself or nothing."""
        from rep_kedro.kernels.statistics.bootstrap import SMALLEST_SHARE

        return float((~self.replicates.isnan()).double().mean()) >= SMALLEST_SHARE

    def explain(self, n_bootstrap: int) -> str:
        """Return why there is no correlation, or no interval though one was requested."""
        return self.reason or (NO_INTERVAL if n_bootstrap and not self.has_interval() else "")


def compare_anchors(similarities: DataFrame, model_cards: DataFrame, params: ConsistencyParams) -> DataFrame:
    """Compare the consistency of each anchor between the values of each category.

    Pairs of stimulus sets share sets and networks, so the rank-sum p-value, which takes them as independent,
    is far too small. The interval of the difference of medians draws networks (within the first category; the
    anchor stays) and stimulus sets again: what other networks on other images might have given.

    Args:
        similarities: The tidy table of similarities.
        model_cards: One row per network, with the columns that ``params.categories`` names.
        params: Anchors, categories, bootstrap.

    Returns:
        Columns as in docs/tables.md: one row per measure, anchor, category and two of its
        values. ``n_a`` and ``n_b`` count pairs of stimulus sets with a defined correlation; a value with
        fewer than ``params.min_pairs`` other networks has none, and its row gives the reason. P-values are
        corrected by Bonferroni for the tests of the anchor; ``n_tests`` counts them, ``p_smallest`` is the
        smallest corrected p-value that so many pairs of stimulus sets allow. The log warns where that is
        above the level.

    Raises:
        ValueError: If an anchor is not a network of the study.
    """
    rows = [
        row
        for study in list_studies(similarities, model_cards, params)
        for row in _correct(study.measure, list(_compare(study, model_cards, params)))
    ]
    return ANCHOR_COMPARISONS.frame(rows)


def _compare(study: Study, cards: DataFrame, params: ConsistencyParams) -> Iterator[dict[str, Any]]:
    spreads = _spreads_of(study, cards, params)
    for anchor in params.anchors:
        for category in params.categories:
            values = sorted(value for a, k, value in spreads if (a, k) == (anchor, category))
            for value_a, value_b in combinations(values, 2):
                a, b = (spreads[anchor, category, value] for value in (value_a, value_b))
                yield {
                    "measure": study.measure,
                    "anchor": anchor,
                    "category": category,
                    "value_a": value_a,
                    "value_b": value_b,
                    **_contrast(a, b, params.confidence),
                    "reason": "; ".join(
                        f"{value}: {reason}"
                        for value, spread in ((value_a, a), (value_b, b))
                        if (reason := spread.explain(params.n_bootstrap))
                    ),
                }


def _contrast(a: _Spread, b: _Spread, confidence: float) -> dict[str, float]:
    """Return counts, medians, the rank-sum test and the interval of the difference of medians."""
    import torch

    from rep_kedro.kernels.statistics.bootstrap import weighted_median
    from rep_kedro.kernels.statistics.resampling import summarise_replicates

    statistic, p_value = _test_rank_sum(a.values.numpy(), b.values.numpy())
    medians = [float(weighted_median(s.values, torch.ones_like(s.values))) for s in (a, b)]
    low, high = math.nan, math.nan
    if all(spread.has_interval() for spread in (a, b)):
        difference = summarise_replicates(
            a.replicates - b.replicates, torch.tensor(medians[0] - medians[1]), confidence=confidence
        )
        low, high = float(difference.low), float(difference.high)
    return {
        "n_a": len(a.values),
        "n_b": len(b.values),
        "median_a": medians[0],
        "median_b": medians[1],
        "statistic": statistic,
        "p_value": p_value,
        "difference_low": low,
        "difference_high": high,
    }


def _test_rank_sum(first: Numbers, second: Numbers) -> tuple[float, float]:
    """Return the standardised rank sum of the first sample and its p-value; NaN where a sample is empty."""
    from scipy.stats import ranksums

    if not (len(first) and len(second)):
        return math.nan, math.nan
    found = ranksums(first, second)
    return float(found.statistic), float(found.pvalue)


def _smallest_p(n_first: int, n_second: int) -> float:
    """Return the p-value of two samples of these sizes that do not overlap; NaN where one is empty."""
    import numpy as np

    return _test_rank_sum(np.arange(n_first) + n_second, np.arange(n_second))[1]


def _spreads_of(
    study: Study, cards: DataFrame, params: ConsistencyParams
) -> Mapping[tuple[str, str, str], _Spread]:
    """Return the spread of each anchor, category and value."""
    import torch

    from rep_kedro.kernels.statistics.bootstrap import replicate_median_consistency
    from rep_kedro.kernels.statistics.consistency import REASONS, pairwise_consistency

    nothing = torch.full((max(1, params.n_bootstrap),), torch.nan, dtype=torch.float64)
    found = {
        (group.anchor, group.category, group.value_b): _Spread(nothing[:0], nothing, explain_small(params))
        for group, _ in study.small_groups
        if group.anchor
    }
    places = [index for index, group in enumerate(study.groups) if group.anchor]
    replicates = nothing[:, None].repeat(1, len(study.groups))
    if params.n_bootstrap:
        for drawn in resample(study, cards, params):
            if study.groups[drawn.groups[0]].anchor:
                replicates[:, drawn.groups], _ = replicate_median_consistency(
                    study.matrices,
                    study.masks[drawn.groups],
                    model_counts=drawn.model_counts,
                    set_counts=drawn.set_counts,
                )
    direct = pairwise_consistency(study.matrices, study.masks, coefficients=["pearson"])
    for index in places:
        group, at = study.groups[index], (index, *study.set_pairs)
        values = direct.coefficients["pearson"][at]
        codes = sorted(set(direct.reason_codes[at].tolist()) - {0})
        reason = "" if (~values.isnan()).any() else "; ".join(REASONS[code] for code in codes)
        found[group.anchor, group.category, group.value_b] = _Spread(
            values[~values.isnan()], replicates[:, index], reason
        )
    return {key: spread for key, spread in found.items() if key[1] != ALL}


def _correct(measure: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add the p-values corrected for the rows of the same anchor that have one."""
    import torch

    from rep_kedro.kernels.statistics.families import correct_families, explain_hopeless

    anchors = list(dict.fromkeys(row["anchor"] for row in rows))
    found = correct_families(
        torch.tensor([row["p_value"] for row in rows], dtype=torch.float64),
        torch.tensor([_smallest_p(row["n_a"], row["n_b"]) for row in rows], dtype=torch.float64),
        torch.tensor([anchors.index(row["anchor"]) for row in rows], dtype=torch.int64),
        method="bonferroni",
    )
    corrected = [
        row | {"p_adjusted": adjusted, "p_smallest": smallest, "n_tests": n_tests}
        for row, adjusted, smallest, n_tests in zip(
            rows, found.p_adjusted.tolist(), found.p_smallest.tolist(), found.n_tests.tolist(), strict=True
        )
    ]
    for anchor in anchors:
        tests = [row for row in corrected if row["anchor"] == anchor and row["n_tests"]]
        least = min((row["p_smallest"] for row in tests), default=0.0)
        if why := explain_hopeless("comparisons", len(tests), least):
            _log.warning("anchor %s under %s: %s; use more stimulus sets", anchor, measure, why)
    return corrected
