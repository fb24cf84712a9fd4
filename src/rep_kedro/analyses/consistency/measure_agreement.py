"""Agreement of measures: do they rank pairs of networks, and consistency values, in the same order?"""

from itertools import combinations
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.consistency.groups import list_distinct_groups
from rep_kedro.analyses.consistency.study import draw_counts, stack_similarities
from rep_kedro.analyses.similarity.params import ConsistencyParams
from rep_kedro.schemas.consistency import GROUP_COLUMNS, MEASURE_AGREEMENT

if TYPE_CHECKING:
    from pandas import DataFrame

    from rep_kedro.kernels.statistics.agreement import Agreement
else:
    Agreement = DataFrame = Any  # so that Kedro can read the hints

SIMILARITY, CONSISTENCY = "similarity", "consistency"


def compare_measures(
    similarities: DataFrame, consistency: DataFrame, model_cards: DataFrame, params: ConsistencyParams
) -> DataFrame:
    """Correlate each two measures: over pairs of networks, and over their consistency values.

    Args:
        similarities: The tidy table of similarities.
        consistency: The table of consistency; rows of anchors are left out, being parts of others.
        model_cards: One row per network, with the columns that ``params.categories`` names.
        params: Groups and bootstrap.

    Returns:
        Columns as in docs/tables.md: two rows for each two measures. ``similarity``: means
        over the stimulus sets that both measures have, per pair of networks; the interval draws networks and
        stimulus sets. ``consistency``: Pearson's r per group of network pairs and pair of stimulus sets; the
        interval draws stimulus sets, and needs more than one pair of them. Of groups that hold the same pairs
        of networks the first alone is counted. With few stimulus sets both intervals are rough.
    """
    import pandas as pd

    rows = []
    models = sorted(set(similarities["model_a"]) | set(similarities["model_b"]))
    distinct = pd.DataFrame(list_distinct_groups(models, model_cards, params), columns=list(GROUP_COLUMNS))
    consistency = consistency.merge(distinct, on=list(GROUP_COLUMNS))
    for names in combinations(sorted(similarities["measure"].unique()), 2):
        found = {
            SIMILARITY: _compare_similarities(similarities, names, params),
            CONSISTENCY: _compare_consistency(consistency, names, params),
        }
        rows += [
            {
                "measure_a": names[0],
                "measure_b": names[1],
                "compared": compared,
                "n": agreement.n,
                "pearson": agreement.pearson,
                "spearman": agreement.spearman,
                "pearson_low": float(agreement.interval.low),
                "pearson_high": float(agreement.interval.high),
                "reason": agreement.reason,
            }
            for compared, agreement in found.items()
        ]
    return MEASURE_AGREEMENT.frame(rows)


def _compare_similarities(
    similarities: DataFrame, names: tuple[str, str], params: ConsistencyParams
) -> Agreement:
    import torch

    from rep_kedro.kernels.statistics.agreement import compare_mean_similarities

    tables = [similarities[similarities["measure"] == name] for name in names]
    stimulus_sets = sorted(set(tables[0]["stimulus_set"]) & set(tables[1]["stimulus_set"]))
    models = sorted(set(similarities["model_a"]) | set(similarities["model_b"]))
    shared = [table[table["stimulus_set"].isin(stimulus_sets)] for table in tables]
    first, second = (stack_similarities(table, stimulus_sets, models) for table in shared)
    generator = torch.Generator().manual_seed(params.seed)
    return compare_mean_similarities(
        first,
        second,
        model_counts=draw_counts(torch.zeros(len(models), dtype=torch.int64), params, generator),
        set_counts=draw_counts(torch.zeros(len(stimulus_sets), dtype=torch.int64), params, generator),
        confidence=params.confidence,
    )


def _compare_consistency(
    consistency: DataFrame, names: tuple[str, str], params: ConsistencyParams
) -> Agreement:
    import torch

    from rep_kedro.kernels.statistics.agreement import compare_values_of_set_pairs

    key = [*GROUP_COLUMNS, "stimulus_set_a", "stimulus_set_b"]
    first, second = (consistency.loc[consistency["measure"] == name, [*key, "pearson"]] for name in names)
    joined = first.merge(second, on=key, suffixes=("_a", "_b"))
    stimulus_sets = sorted(set(joined["stimulus_set_a"]) | set(joined["stimulus_set_b"]))
    place = {name: index for index, name in enumerate(stimulus_sets)}
    set_pairs = joined[["stimulus_set_a", "stimulus_set_b"]].apply(lambda column: column.map(place))
    values_a, values_b = (torch.tensor(joined[f"pearson_{side}"].to_numpy(dtype="float64")) for side in "ab")
    return compare_values_of_set_pairs(
        values_a,
        values_b,
        torch.tensor(set_pairs.to_numpy(dtype="int64")).T,
        set_counts=draw_counts(
            torch.zeros(len(stimulus_sets), dtype=torch.int64),
            params,
            torch.Generator().manual_seed(params.seed),
        ),
        confidence=params.confidence,
    )
