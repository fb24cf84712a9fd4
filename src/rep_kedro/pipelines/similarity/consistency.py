"""The consistency tables: do similarities on one stimulus set go with those on another?"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rep_kedro.pipelines.similarity.groups import Group
from rep_kedro.pipelines.similarity.params import ConsistencyParams
from rep_kedro.pipelines.similarity.study import Study, explain_small, list_studies, resample

if TYPE_CHECKING:
    from pandas import DataFrame
    from torch import Tensor

    from rep_kedro.kernels.consistency import Consistency
else:
    Consistency = DataFrame = Tensor = Any  # so that Kedro can read the hints

COLUMNS = (
    *("measure", "category", "pair", "stimulus_set_a", "stimulus_set_b", "n_pairs", "n_excluded"),
    *("pearson", "spearman", "kendall", "pearson_low", "pearson_high", "p_value", "p_adjusted", "reason"),
)
SUMMARY_COLUMNS = (
    *("measure", "category", "pair", "n_pairs", "n_set_pairs", "n_defined", "median_pearson", "median_low"),
    *("median_high", "smallest", "first_quartile", "third_quartile", "largest", "reason"),
)
QUARTILES = ("smallest", "first_quartile", "median_pearson", "third_quartile", "largest")


def compute_consistency(
    similarities: DataFrame, model_cards: DataFrame, params: ConsistencyParams
) -> DataFrame:
    """Correlate network similarities between stimulus sets: all pairs of networks, by group, and by anchor.

    Directed measures enter with the mean of their two directions.

    Args:
        similarities: The tidy table of similarities.
        model_cards: One row per network, with the columns that ``params.categories`` names.
        params: Groups, bootstrap, permutations.

    Returns:
        Columns as in docs/architecture.md, section 3: one row per measure, group of network pairs and
        unordered pair of stimulus sets. Groups with fewer than ``params.min_pairs`` pairs of networks have no
        rows here: the summary lists them. Whatever is NaN has its reason. The interval is from a bootstrap
        over networks (an anchor stays), the p-value from permutations of network names within the two sets of
        the group, without those networks that have no similarity within the group on one of the two stimulus
        sets; where a similarity is undefined even so, there is no p-value. ``p_adjusted`` is corrected for
        all correlations of the measure, those with anchors among themselves, so that naming anchors changes
        no other row.

    Raises:
        ValueError: If a set of networks or an anchor names what no network has.
    """
    import pandas as pd

    tables = [
        _tabulate(study, model_cards, params)
        for study in list_studies(similarities, model_cards, params)
        if study.groups
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(COLUMNS))


def summarise_consistency(
    similarities: DataFrame, model_cards: DataFrame, params: ConsistencyParams
) -> DataFrame:
    """Summarise consistency over pairs of stimulus sets, with an interval for its median.

    The interval is from a bootstrap that draws networks (within the first category; an anchor stays) and
    stimulus sets: what other networks of the same kinds, on other images of this sort, might have given. With
    few stimulus sets it is rough.

    Args:
        similarities: The tidy table of similarities.
        model_cards: One row per network.
        params: Groups and bootstrap.

    Returns:
        Columns as in docs/architecture.md, section 3: one row per measure and group of network pairs; groups
        with fewer than ``params.min_pairs`` pairs of networks come last, NaN with the reason.
    """
    import pandas as pd

    rows = [
        row
        for study in list_studies(similarities, model_cards, params)
        for row in (*_summaries_of(study, model_cards, params), *_mention_small(study, params))
    ]
    return pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS))


def _tabulate(study: Study, cards: DataFrame, params: ConsistencyParams) -> DataFrame:
    import numpy as np
    import pandas as pd

    from rep_kedro.kernels.consistency import REASONS, pairwise_consistency

    found = pairwise_consistency(study.matrices, study.masks)
    low, high = _bound(study, cards, params)
    p_values = _test_groups(study, params)[:, study.set_pairs[0], study.set_pairs[1]]
    n_set_pairs = study.set_pairs.shape[1]
    numbers = {
        "n_pairs": found.n_pairs,
        "n_excluded": found.n_excluded,
        **found.coefficients,
        "pearson_low": low,
        "pearson_high": high,
    }
    first, second = (
        np.tile(np.array(study.stimulus_sets)[side], len(study.groups)) for side in study.set_pairs
    )
    columns = {
        "measure": study.measure,
        "category": np.repeat([group.category for group in study.groups], n_set_pairs),
        "pair": np.repeat([group.pair for group in study.groups], n_set_pairs),
        "stimulus_set_a": first,
        "stimulus_set_b": second,
        **{name: _flatten(values, study).numpy() for name, values in numbers.items()},
        "p_value": p_values.flatten().numpy(),
        "p_adjusted": _adjust(p_values, study.groups, params).flatten().numpy(),
        "reason": np.array(REASONS)[_flatten(found.reason_codes, study).numpy()],
    }
    return _explain_missing(pd.DataFrame(columns)[list(COLUMNS)], params)


def _explain_missing(table: DataFrame, params: ConsistencyParams) -> DataFrame:
    """Say of each correlation that lacks an interval or a p-value why."""
    from rep_kedro.kernels.bootstrap import NO_INTERVAL
    from rep_kedro.kernels.mantel import NO_TEST

    for wanted, column, why in (
        (params.n_bootstrap, "pearson_low", NO_INTERVAL),
        (params.n_permutations, "p_value", NO_TEST),
    ):
        if wanted:
            silent = table["pearson"].notna() & table[column].isna()
            table.loc[silent, "reason"] = [
                f"{told}; {why}".removeprefix("; ") for told in table.loc[silent, "reason"]
            ]
    return table


def _flatten(values: Tensor, study: Study) -> Tensor:
    """Return what (n_groups, n_sets, n_sets) holds above the diagonals, group after group."""
    return values[:, study.set_pairs[0], study.set_pairs[1]].flatten()


def _bound(study: Study, cards: DataFrame, params: ConsistencyParams) -> tuple[Tensor, Tensor]:
    """Return the ends of the intervals, each of shape (n_groups, n_sets, n_sets)."""
    import torch

    from rep_kedro.kernels.bootstrap import bootstrap_consistency

    n_sets = len(study.stimulus_sets)
    low, high = torch.full((2, len(study.groups), n_sets, n_sets), torch.nan, dtype=torch.float64)
    if params.n_bootstrap:
        for drawn in resample(study, cards, params):
            interval = bootstrap_consistency(
                study.matrices, study.masks[drawn.groups], drawn.model_counts, confidence=params.confidence
            )
            low[drawn.groups], high[drawn.groups] = interval.low, interval.high
    return low, high


def _test_groups(study: Study, params: ConsistencyParams) -> Tensor:
    """Return p-values of all groups and pairs of stimulus sets, shape (n_groups, n_sets, n_sets)."""
    import torch

    from rep_kedro.kernels.mantel import permute_defined

    n_sets = len(study.stimulus_sets)
    p_values = torch.full((len(study.groups), n_sets, n_sets), torch.nan, dtype=torch.float64)
    if not params.n_permutations:
        return p_values
    for index, group in enumerate(study.groups):
        p_values[index] = permute_defined(
            study.matrices,
            group.members_a,
            group.members_b,
            params.n_permutations,
            generator=torch.Generator().manual_seed(params.seed),
        ).p_value
    return p_values


def _adjust(p_values: Tensor, groups: list[Group], params: ConsistencyParams) -> Tensor:
    """Correct for the number of tests, shape (n_groups, n_set_pairs); anchors make a family of their own."""
    import torch

    from rep_kedro.kernels.calibration import adjust_p_values

    adjusted = torch.full_like(p_values, torch.nan)
    anchored = torch.tensor([group.anchor is not None for group in groups])
    for family in (anchored, ~anchored):
        if family.any():
            adjusted[family] = adjust_p_values(p_values[family], method=params.correction)
    return adjusted


def _summaries_of(study: Study, cards: DataFrame, params: ConsistencyParams) -> Iterator[dict[str, Any]]:
    import torch

    from rep_kedro.kernels.bootstrap import NO_INTERVAL, bootstrap_median_consistency
    from rep_kedro.kernels.consistency import REASONS, pairwise_consistency

    found = pairwise_consistency(study.matrices, study.masks, coefficients=["pearson"])
    low, high = torch.full((2, len(study.groups)), torch.nan, dtype=torch.float64)
    if params.n_bootstrap:
        for drawn in resample(study, cards, params):
            interval = bootstrap_median_consistency(
                study.matrices,
                study.masks[drawn.groups],
                model_counts=drawn.model_counts,
                set_counts=drawn.set_counts,
                confidence=params.confidence,
            )
            low[drawn.groups], high[drawn.groups] = interval.low, interval.high
    for index, group in enumerate(study.groups):
        at = (index, *study.set_pairs)
        reasons = {REASONS[code] for code in found.reason_codes[at].tolist()} - {""}
        if params.n_bootstrap and low[index].isnan() and not found.coefficients["pearson"][at].isnan().all():
            reasons.add(NO_INTERVAL)
        yield {
            "measure": study.measure,
            "category": group.category,
            "pair": group.pair,
            "n_pairs": int(found.n_pairs[at].max()),
            "n_set_pairs": study.set_pairs.shape[1],
            **_describe(found.coefficients["pearson"][at]),
            "median_low": float(low[index]),
            "median_high": float(high[index]),
            "reason": "; ".join(sorted(reasons)),
        }


def _mention_small(study: Study, params: ConsistencyParams) -> Iterator[dict[str, Any]]:
    """Yield one row for each group that has too few pairs of networks."""
    for group, n_pairs in study.small_groups:
        yield {
            "measure": study.measure,
            "category": group.category,
            "pair": group.pair,
            "n_pairs": n_pairs,
            "n_set_pairs": study.set_pairs.shape[1],
            **_describe(study.matrices[:0, 0, 0]),
            "median_low": float("nan"),
            "median_high": float("nan"),
            "reason": explain_small(params),
        }


def _describe(values: Tensor) -> dict[str, float]:
    """Return how many values are defined, and their quartiles."""
    import numpy as np

    defined = values[~values.isnan()].numpy()
    quantiles = np.quantile(defined, [0, 0.25, 0.5, 0.75, 1]) if defined.size else [np.nan] * len(QUARTILES)
    return {"n_defined": len(defined)} | {n: float(q) for n, q in zip(QUARTILES, quantiles, strict=True)}
