"""The consistency table: do similarities on one stimulus set go with those on another?"""

from collections.abc import Iterator
from itertools import combinations, combinations_with_replacement
from typing import TYPE_CHECKING, Any

from rep_kedro.pipelines.similarity.params import ConsistencyParams

if TYPE_CHECKING:
    from pandas import DataFrame
    from torch import Tensor
else:
    DataFrame = Tensor = Any  # so that Kedro can read the hints

_ALL = "all"
COLUMNS = (
    *("measure", "category", "pair", "stimulus_set_a", "stimulus_set_b", "n_pairs", "n_excluded"),
    *("pearson", "spearman", "kendall", "pearson_low", "pearson_high", "reason"),
)


def compute_consistency(
    similarities: DataFrame, model_cards: DataFrame, params: ConsistencyParams
) -> DataFrame:
    """Correlate network similarities between stimulus sets, over all pairs of networks and by group.

    Directed measures enter with the mean of their two directions.

    Args:
        similarities: The tidy table of similarities.
        model_cards: One row per network, with the columns that ``params.categories`` names.
        params: Groups, bootstrap.

    Returns:
        Columns as in docs/architecture.md, section 3: one row per measure, group of network pairs and
        unordered pair of stimulus sets. Undefined correlations are NaN with their reason. The interval comes
        from a bootstrap over networks and is NaN where that has no answer.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for measure, table in similarities.groupby("measure", sort=True):
        rows += _rows_of(str(measure), table, model_cards, params)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows_of(
    measure: str, table: DataFrame, cards: DataFrame, params: ConsistencyParams
) -> Iterator[dict[str, Any]]:
    import torch

    from rep_kedro.kernels.bootstrap import bootstrap_consistency
    from rep_kedro.kernels.consistency import pairwise_consistency

    stimulus_sets = sorted(table["stimulus_set"].unique())
    models = sorted(set(table["model_a"]) | set(table["model_b"]))
    matrices = torch.stack(
        [_matrix_of(table[table["stimulus_set"] == name], models) for name in stimulus_sets]
    )
    groups = _groups_of(models, cards, params)
    masks = torch.stack([mask for _, _, mask in groups])
    found = pairwise_consistency(matrices, masks)
    low = high = torch.full_like(found.coefficients["pearson"], torch.nan)
    if params.n_bootstrap:
        interval = bootstrap_consistency(
            matrices, masks, _draw_networks(models, cards, params), confidence=params.confidence
        )
        low, high = interval.low, interval.high
    for group, (category, pair, _) in enumerate(groups):
        for a, b in combinations(range(len(stimulus_sets)), 2):
            yield {
                "measure": measure,
                "category": category,
                "pair": pair,
                "stimulus_set_a": stimulus_sets[a],
                "stimulus_set_b": stimulus_sets[b],
                "n_pairs": int(found.n_pairs[group, a, b]),
                "n_excluded": int(found.n_excluded[group, a, b]),
                "pearson": float(found.coefficients["pearson"][group, a, b]),
                "spearman": float(found.coefficients["spearman"][group, a, b]),
                "kendall": float(found.coefficients["kendall"][group, a, b]),
                "pearson_low": float(low[group, a, b]),
                "pearson_high": float(high[group, a, b]),
                "reason": found.reason(group, a, b),
            }


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


def _draw_networks(models: list[str], cards: DataFrame, params: ConsistencyParams) -> Tensor:
    """Return how often each network is in each bootstrap replicate, drawn within the first category."""
    import torch

    from rep_kedro.kernels.resampling import draw_bootstrap_counts

    generator = torch.Generator().manual_seed(params.seed)
    column = cards.set_index("model")[params.categories[0]] if params.categories else None
    values = ["" if column is None else str(column[model]) for model in models]
    strata = torch.tensor([sorted(set(values)).index(value) for value in values])
    return draw_bootstrap_counts(strata, params.n_bootstrap, generator=generator)


def _groups_of(
    models: list[str], cards: DataFrame, params: ConsistencyParams
) -> list[tuple[str, str, Tensor]]:
    """Return (category, pair, mask of network pairs): all, then each pair of values of each category."""
    import torch

    from rep_kedro.kernels.consistency import mask_model_pairs

    everyone = torch.ones(len(models), dtype=torch.bool)
    groups = [(_ALL, _ALL, mask_model_pairs(everyone, everyone))]
    by_model = cards.set_index("model")
    for category in params.categories:
        values = [str(by_model.at[model, category]) for model in models]
        members = {value: torch.tensor([own == value for own in values]) for value in sorted(set(values))}
        for first, second in combinations_with_replacement(members, 2):
            mask = mask_model_pairs(members[first], members[second])
            groups.append((category, f"{first} / {second}", mask))
    return groups
