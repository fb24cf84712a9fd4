"""The consistency tables: do similarities on one stimulus set go with those on another?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from rep_kedro.pipelines.similarity.groups import Group, list_groups, strata_of
from rep_kedro.pipelines.similarity.params import ConsistencyParams

if TYPE_CHECKING:
    from pandas import DataFrame
    from torch import Generator, Tensor
else:
    DataFrame = Generator = Tensor = Any  # so that Kedro can read the hints

COLUMNS = (
    *("measure", "category", "pair", "stimulus_set_a", "stimulus_set_b", "n_pairs", "n_excluded"),
    *("pearson", "spearman", "kendall", "pearson_low", "pearson_high", "p_value", "p_adjusted", "reason"),
)
SUMMARY_COLUMNS = (
    *("measure", "category", "pair", "n_pairs", "n_set_pairs", "n_defined", "median_pearson", "median_low"),
    *("median_high", "smallest", "first_quartile", "third_quartile", "largest", "reason"),
)


@dataclass(frozen=True)
class _Study:
    """The similarities under one measure: matrices (n_sets, n_models, n_models) and groups of pairs."""

    measure: str
    stimulus_sets: list[str]
    models: list[str]
    matrices: Tensor
    groups: list[Group]
    masks: Tensor

    def set_pairs(self) -> Iterator[tuple[int, int]]:
        """Yield each unordered pair of stimulus sets."""
        return combinations(range(len(self.stimulus_sets)), 2)


def compute_consistency(
    similarities: DataFrame, model_cards: DataFrame, params: ConsistencyParams
) -> DataFrame:
    """Correlate network similarities between stimulus sets, over all pairs of networks and by group.

    Directed measures enter with the mean of their two directions.

    Args:
        similarities: The tidy table of similarities.
        model_cards: One row per network, with the columns that ``params.categories`` names.
        params: Groups, bootstrap, permutations.

    Returns:
        Columns as in docs/architecture.md, section 3: one row per measure, group of network pairs and
        unordered pair of stimulus sets. Undefined correlations are NaN with their reason. The interval comes
        from a bootstrap over networks, the p-value from permutations of network names within the two sets of
        the group; both are NaN where they have no answer, the p-value also where a similarity is undefined.
        ``p_adjusted`` is corrected for all correlations of the measure.

    Raises:
        ValueError: If a set of networks names what no network has.
    """
    import pandas as pd

    rows = [
        row
        for study in _studies_of(similarities, model_cards, params)
        for row in _rows_of(study, model_cards, params)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def summarise_consistency(
    similarities: DataFrame, model_cards: DataFrame, params: ConsistencyParams
) -> DataFrame:
    """Summarise consistency over pairs of stimulus sets, with an interval for its median.

    The interval is from a bootstrap that draws networks (within the first category) and stimulus sets: what
    other networks of the same kinds, on other images of this sort, might have given. With few stimulus sets
    it is rough.

    Args:
        similarities: The tidy table of similarities.
        model_cards: One row per network.
        params: Groups and bootstrap.

    Returns:
        Columns as in docs/architecture.md, section 3: one row per measure and group of network pairs.
    """
    import pandas as pd

    rows = [
        row
        for study in _studies_of(similarities, model_cards, params)
        for row in _summaries_of(study, model_cards, params)
    ]
    return pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS))


def _studies_of(similarities: DataFrame, cards: DataFrame, params: ConsistencyParams) -> Iterator[_Study]:
    """Yield each measure with at least two stimulus sets."""
    import torch

    from rep_kedro.kernels.consistency import mask_model_pairs

    for measure, table in similarities.groupby("measure", sort=True):
        stimulus_sets = sorted(table["stimulus_set"].unique())
        models = sorted(set(table["model_a"]) | set(table["model_b"]))
        if len(stimulus_sets) < 2:
            continue
        groups = list_groups(models, cards, params)
        yield _Study(
            str(measure),
            stimulus_sets,
            models,
            torch.stack([_matrix_of(table[table["stimulus_set"] == name], models) for name in stimulus_sets]),
            groups,
            torch.stack([mask_model_pairs(group.members_a, group.members_b) for group in groups]),
        )


def _rows_of(study: _Study, cards: DataFrame, params: ConsistencyParams) -> Iterator[dict[str, Any]]:
    import torch

    from rep_kedro.kernels.bootstrap import bootstrap_consistency
    from rep_kedro.kernels.calibration import adjust_p_values
    from rep_kedro.kernels.consistency import pairwise_consistency

    found = pairwise_consistency(study.matrices, study.masks)
    low = high = torch.full_like(found.coefficients["pearson"], torch.nan)
    if params.n_bootstrap:
        generator = torch.Generator().manual_seed(params.seed)
        counts = _draw_counts(strata_of(study.models, cards, params), params, generator)
        interval = bootstrap_consistency(study.matrices, study.masks, counts, confidence=params.confidence)
        low, high = interval.low, interval.high
    p_values = _test_groups(study, params)
    first, second = torch.tensor(list(study.set_pairs())).T
    adjusted = torch.full_like(p_values, torch.nan)
    adjusted[:, first, second] = adjust_p_values(p_values[:, first, second], method=params.correction)
    for index, group in enumerate(study.groups):
        for a, b in study.set_pairs():
            at = (index, a, b)
            yield {
                "measure": study.measure,
                "category": group.category,
                "pair": group.pair,
                "stimulus_set_a": study.stimulus_sets[a],
                "stimulus_set_b": study.stimulus_sets[b],
                "n_pairs": int(found.n_pairs[at]),
                "n_excluded": int(found.n_excluded[at]),
                **{name: float(values[at]) for name, values in found.coefficients.items()},
                "pearson_low": float(low[at]),
                "pearson_high": float(high[at]),
                "p_value": float(p_values[at]),
                "p_adjusted": float(adjusted[at]),
                "reason": found.reason(*at),
            }


def _test_groups(study: _Study, params: ConsistencyParams) -> Tensor:
    """Return p-values of all groups and pairs of stimulus sets, shape (n_groups, n_sets, n_sets)."""
    import torch

    from rep_kedro.kernels.mantel import list_strata, permute_consistency
    from rep_kedro.kernels.resampling import draw_permutations_within

    n_sets = len(study.stimulus_sets)
    p_values = torch.full((len(study.groups), n_sets, n_sets), torch.nan, dtype=torch.float64)
    if not params.n_permutations:
        return p_values
    for index, group in enumerate(study.groups):
        if not study.masks[index].any():
            continue
        permutations = draw_permutations_within(
            list_strata(group.members_a, group.members_b),
            params.n_permutations,
            generator=torch.Generator().manual_seed(params.seed),
        )
        p_values[index] = permute_consistency(study.matrices, study.masks[index], permutations).p_value
    return p_values


def _summaries_of(study: _Study, cards: DataFrame, params: ConsistencyParams) -> Iterator[dict[str, Any]]:
    import torch

    from rep_kedro.kernels.bootstrap import bootstrap_median_consistency
    from rep_kedro.kernels.consistency import pairwise_consistency

    found = pairwise_consistency(study.matrices, study.masks, coefficients=["pearson"])
    low = high = torch.full((len(study.groups),), torch.nan, dtype=torch.float64)
    if params.n_bootstrap:
        generator = torch.Generator().manual_seed(params.seed)
        of_models = strata_of(study.models, cards, params)
        of_sets = torch.zeros(len(study.stimulus_sets), dtype=torch.int64)
        interval = bootstrap_median_consistency(
            study.matrices,
            study.masks,
            model_counts=_draw_counts(of_models, params, generator),
            set_counts=_draw_counts(of_sets, params, generator),
            confidence=params.confidence,
        )
        low, high = interval.low, interval.high
    set_pairs = list(study.set_pairs())
    for index, group in enumerate(study.groups):
        values = [float(found.coefficients["pearson"][index, a, b]) for a, b in set_pairs]
        reasons = {found.reason(index, a, b) for a, b in set_pairs} - {""}
        yield {
            "measure": study.measure,
            "category": group.category,
            "pair": group.pair,
            "n_pairs": max(int(found.n_pairs[index, a, b]) for a, b in set_pairs),
            "n_set_pairs": len(set_pairs),
            **_describe(values),
            "median_low": float(low[index]),
            "median_high": float(high[index]),
            "reason": "; ".join(sorted(reasons)),
        }


def _describe(values: Sequence[float]) -> dict[str, float]:
    """Return how many values are defined, and their quartiles."""
    import numpy as np

    names = ("smallest", "first_quartile", "median_pearson", "third_quartile", "largest")
    defined = np.array(values)[~np.isnan(values)]
    quantiles = np.quantile(defined, [0, 0.25, 0.5, 0.75, 1]) if defined.size else [np.nan] * len(names)
    return {"n_defined": len(defined)} | {n: float(q) for n, q in zip(names, quantiles, strict=True)}


def _matrix_of(table: DataFrame, models: list[str]) -> Tensor:
    """Return the symmetric matrix of similarities over all models, NaN where there is none."""
    import torch

    position = {model: index for index, model in enumerate(models)}
    total = torch.zeros(len(models), len(models), dtype=torch.float64)
    count = torch.zeros_like(total)
    a = torch.tensor([position[model] for model in table["model_a"]])
    b = torch.tensor([position[model] for model in table["model_b"]])
    values = torch.tensor(table["similarity"].to_numpy(dtype=float))
    for rows, columns in ((a, b), (b, a)):
        total.index_put_((rows, columns), values, accumulate=True)
        count.index_put_((rows, columns), torch.ones_like(values), accumulate=True)
    return torch.where(count > 0, total / count, torch.nan)


def _draw_counts(strata: Tensor, params: ConsistencyParams, generator: Generator) -> Tensor:
    """Return how often each unit is in each bootstrap replicate."""
    from rep_kedro.kernels.resampling import draw_bootstrap_counts

    return draw_bootstrap_counts(strata, params.n_bootstrap, generator=generator)
