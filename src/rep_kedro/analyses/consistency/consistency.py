"""The consistency tables: correlations of similarities on one stimulus set with those on another."""

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.consistency.study import Study, explain_small, list_studies, resample
from rep_kedro.analyses.similarity.params import ConsistencyParams
from rep_kedro.schemas.consistency import CONSISTENCY, CONSISTENCY_SUMMARY, GROUP_COLUMNS

if TYPE_CHECKING:
    from pandas import DataFrame
    from torch import Tensor

    from rep_kedro.kernels.statistics.families import Corrected
    from rep_kedro.kernels.statistics.mantel import MantelTest
else:
    Corrected = DataFrame = MantelTest = Tensor = Any  # so that Kedro can read the hints

_log = logging.getLogger(__name__)

RAISE = "raise consistency.n_permutations, or compare more networks"
FEWER = "or fewer stimulus sets"
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
        Columns as in docs/tables.md: one row per measure, group of network pairs and
        unordered pair of stimulus sets. Groups with fewer than ``params.min_pairs`` pairs of networks have no
        rows here: the summary lists them. Whatever is NaN has its reason. The interval is from a bootstrap
        over networks (an anchor stays), the p-value from permutations of network names within the two sets of
        the group, without those networks that have no similarity within the group on one of the two stimulus
        sets; where a similarity is undefined even so, there is no p-value. ``p_adjusted`` is corrected
        within a family: the correlations of the measure over all networks, those of one category, those of
        the model sets, those of one anchor; ``n_tests`` is its size, ``p_smallest`` the smallest corrected
        p-value that was possible. Where that is above the level, the log reports it.

    Raises:
        ValueError: If a set of networks or an anchor names what no network has.
    """
    import pandas as pd

    tables = [
        _tabulate(study, model_cards, params)
        for study in list_studies(similarities, model_cards, params)
        if study.groups
    ]
    return CONSISTENCY.frame(pd.concat(tables, ignore_index=True) if tables else [])


def summarise_consistency(
    similarities: DataFrame, model_cards: DataFrame, params: ConsistencyParams
) -> DataFrame:
    """Summarise consistency over pairs of stimulus sets, with an interval for its median.

    The interval is from a bootstrap that draws networks (within the first category; an anchor stays) and
    stimulus sets: what other networks of the same kinds, on other images of this sort, might have given. With
    few stimulus sets it is rough.

    Returns:
        Columns as in docs/tables.md: one row per measure and group of network pairs; groups
        with fewer than ``params.min_pairs`` pairs of networks come last, NaN with the reason.
    """
    rows = [
        row
        for study in list_studies(similarities, model_cards, params)
        for row in (*_summaries_of(study, model_cards, params), *_mention_small(study, params))
    ]
    return CONSISTENCY_SUMMARY.frame(rows)


def _tabulate(study: Study, cards: DataFrame, params: ConsistencyParams) -> DataFrame:
    import numpy as np
    import pandas as pd

    from rep_kedro.kernels.statistics.consistency import REASONS, pairwise_consistency

    found = pairwise_consistency(study.matrices, study.masks)
    low, high = _bound(study, cards, params)
    test = _test_groups(study, params)
    corrected = _correct(study, test, params)
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
        **{
            name: np.repeat([group.columns()[name] for group in study.groups], n_set_pairs)
            for name in GROUP_COLUMNS
        },
        "stimulus_set_a": first,
        "stimulus_set_b": second,
        **{name: _flatten(values, study).numpy() for name, values in numbers.items()},
        "p_value": _flatten(test.p_value, study).numpy(),
        **{name: getattr(corrected, name).numpy() for name in ("p_adjusted", "p_smallest", "n_tests")},
        "reason": np.array(REASONS)[_flatten(found.reason_codes, study).numpy()],
    }
    return _explain_missing(pd.DataFrame(columns), params)


def _explain_missing(table: DataFrame, params: ConsistencyParams) -> DataFrame:
    """Say of each correlation that lacks an interval or a p-value why."""
    from rep_kedro.kernels.statistics.bootstrap import NO_INTERVAL
    from rep_kedro.kernels.statistics.mantel import NO_TEST

    for wanted, column, why in (
        (params.n_bootstrap, "pearson_low", NO_INTERVAL),
        (params.n_permutations, "p_value", NO_TEST),
    ):
        if wanted:
            silent = table["pearson"].notna() & table[column].isna()
            table.loc[silent, "reason"] = [
                f"{earlier}; {why}".removeprefix("; ") for earlier in table.loc[silent, "reason"]
            ]
    return table


def _flatten(values: Tensor, study: Study) -> Tensor:
    """Return what (n_groups, n_sets, n_sets) holds above the diagonals, group after group."""
    return values[:, study.set_pairs[0], study.set_pairs[1]].flatten()


def _bound(study: Study, cards: DataFrame, params: ConsistencyParams) -> tuple[Tensor, Tensor]:
    """Return the ends of the intervals, each of shape (n_groups, n_sets, n_sets)."""
    import torch

    from rep_kedro.kernels.statistics.bootstrap import bootstrap_consistency

    n_sets = len(study.stimulus_sets)
    low, high = torch.full((2, len(study.groups), n_sets, n_sets), torch.nan, dtype=torch.float64)
    if params.n_bootstrap:
        for drawn in resample(study, cards, params):
            interval = bootstrap_consistency(
                study.matrices, study.masks[drawn.groups], drawn.model_counts, confidence=params.confidence
            )
            low[drawn.groups], high[drawn.groups] = interval.low, interval.high
    return low, high


def _test_groups(study: Study, params: ConsistencyParams) -> MantelTest:
    """Return tests of all groups and pairs of stimulus sets, each (n_groups, n_sets, n_sets)."""
    import torch

    from rep_kedro.kernels.statistics.mantel import MantelTest, permute_defined

    n_sets = len(study.stimulus_sets)
    found = MantelTest(*torch.full((3, len(study.groups), n_sets, n_sets), torch.nan, dtype=torch.float64))
    for index, group in enumerate(study.groups if params.n_permutations else []):
        test = permute_defined(
            study.matrices,
            group.members_a,
            group.members_b,
            params.n_permutations,
            generator=torch.Generator().manual_seed(params.seed),
        )
        found.p_value[index], found.p_smallest[index] = test.p_value, test.p_smallest
    return found


def _correct(study: Study, test: MantelTest, params: ConsistencyParams) -> Corrected:
    """Correct for the number of tests of each family; the log names families in which none can pass."""
    import torch

    from rep_kedro.kernels.statistics.families import advise_hopeless, correct_families, explain_hopeless
    from rep_kedro.kernels.statistics.mantel import count_orders

    families = list(dict.fromkeys(group.family for group in study.groups))
    of_groups = torch.tensor([families.index(group.family) for group in study.groups])
    of_tests = of_groups.repeat_interleave(study.set_pairs.shape[1])
    p_values, smallest = (_flatten(values, study) for values in (test.p_value, test.p_smallest))
    found = correct_families(p_values, smallest, of_tests, method=params.correction)
    for index, (anchor, category) in enumerate(families):
        own = (of_tests == index) & ~p_values.isnan()
        if own.any():
            n_tests, least = int(own.sum()), float(found.p_smallest[own].min())
            if why := explain_hopeless("correlations", n_tests, least):
                groups = [group for group in study.groups if group.family == (anchor, category)]
                advice = advise_hopeless(
                    [count_orders(group.members_a, group.members_b) for group in groups]
                    * study.set_pairs.shape[1],
                    max(int((group.members_a | group.members_b).sum()) for group in groups),
                    method=params.correction,
                    otherwise=RAISE,
                )
                what = f"anchor {anchor}" if anchor else f"category {category}"
                _log.warning("consistency of %s, %s: %s; %s %s", study.measure, what, why, advice, FEWER)
    return found


def _summaries_of(study: Study, cards: DataFrame, params: ConsistencyParams) -> Iterator[dict[str, Any]]:
    import torch

    from rep_kedro.kernels.statistics.bootstrap import NO_INTERVAL, bootstrap_median_consistency
    from rep_kedro.kernels.statistics.consistency import REASONS, pairwise_consistency

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
            **group.columns(),
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
            **group.columns(),
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
