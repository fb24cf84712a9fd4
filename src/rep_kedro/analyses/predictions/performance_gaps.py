"""Do similar networks perform equally well? Similarity against the difference of accuracies."""

import logging
from math import factorial, isqrt
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.probing.params import GapParams, ProbingParams
from rep_kedro.schemas.probing import PERFORMANCE_GAPS

if TYPE_CHECKING:
    from pandas import DataFrame, Series
    from torch import Tensor
else:
    DataFrame = Series = Tensor = Any  # Kedro reads the hints

_log = logging.getLogger(__name__)
RAISE = "raise probing.performance_gaps.n_permutations, or compare more networks"
REASONS = (
    "",
    "fewer than 3 pairs of networks with a similarity and two accuracies",
    "similarities do not vary",
    "accuracies do not vary, or all differ equally",
    "neither similarities nor differences of accuracies vary",
)


def compute_performance_gaps(
    similarities: DataFrame, probe_results: DataFrame, params: ProbingParams
) -> DataFrame:
    """Correlate similarity with the absolute difference of test accuracies, on each stimulus set.

    Pairs share networks, so intervals draw networks (a network is not a pair with its own copy), and p-values
    permute the networks' names (two-sided), without networks that have no similarity to any. Negative:
    similar networks perform equally well.

    Args:
        similarities: The tidy table of similarities; directed measures enter with their mean.
        probe_results: The final layers' test accuracies count.
        params: ``params.performance_gaps``: bootstrap, permutations.

    Returns:
        Columns as in docs/tables.md: one row per stimulus set and measure of the
        similarities. Pairs lack where a network has no probe. Undefined values are NaN with their reason.
        ``p_adjusted`` is corrected for the stimulus sets of the measure; ``n_tests`` counts them,
        ``p_smallest`` is the smallest corrected p-value that was possible. Where that is above the level, the
        log says so.
    """
    import pandas as pd

    final = probe_results[probe_results["is_final"].astype(bool)]
    tables = [
        _tabulate(
            str(stimulus_set),
            pairs,
            final[final["stimulus_set"] == stimulus_set].set_index("model")["test_accuracy"].dropna(),
            params.performance_gaps,
        )
        for stimulus_set, pairs in similarities.groupby("stimulus_set", sort=True)
    ]
    if not tables:
        return PERFORMANCE_GAPS.frame([])
    return PERFORMANCE_GAPS.frame(_correct(pd.concat(tables, ignore_index=True), params.performance_gaps))


def _tabulate(stimulus_set: str, pairs: DataFrame, accuracy: Series, params: GapParams) -> DataFrame:
    """Return the rows of one stimulus set; all of its measures share permutations and samples."""
    import pandas as pd

    from rep_kedro.kernels.statistics.bootstrap import NO_INTERVAL
    from rep_kedro.kernels.statistics.consistency import pairwise_consistency
    from rep_kedro.kernels.statistics.mantel import NO_TEST

    measures = sorted(pairs["measure"].unique())
    matrices = _stack(pairs, measures, accuracy)
    mask = _all_pairs(matrices.shape[1])
    found = pairwise_consistency(matrices, mask[None], coefficients=["pearson", "spearman"])
    low, high = _bound(matrices, mask, params)
    p_values, smallest = _test(matrices, params)
    columns = {
        "stimulus_set": stimulus_set,
        "measure": measures,
        "n_pairs": found.n_pairs[0, :-1, -1].numpy(),
        **{name: values[0, :-1, -1].numpy() for name, values in found.coefficients.items()},
        "pearson_low": low.numpy(),
        "pearson_high": high.numpy(),
        "p_value": p_values.numpy(),
        "p_smallest": smallest.numpy(),
        "reason": [REASONS[code] for code in found.reason_codes[0, :-1, -1].tolist()],
    }
    table = pd.DataFrame(columns)
    missing = (
        (params.n_bootstrap, table["pearson_low"].isna(), NO_INTERVAL),
        (params.n_permutations, table["p_value"].isna(), NO_TEST),
    )
    for wanted, is_missing, why in missing:
        silent = table["pearson"].notna() & is_missing
        if wanted and silent.any():
            table.loc[silent, "reason"] = [
                f"{earlier}; {why}".removeprefix("; ") for earlier in table.loc[silent, "reason"]
            ]
    return table


def _stack(pairs: DataFrame, measures: list[str], accuracy: Series) -> Tensor:
    """Return similarities of networks that have an accuracy, and last their gaps, (n_measures + 1, n, n)."""
    import numpy as np
    import torch

    from rep_kedro.kernels.statistics.consistency import stack_model_pairs

    models = sorted((set(pairs["model_a"]) | set(pairs["model_b"])) & set(accuracy.index))
    known = pairs[pairs["model_a"].isin(models) & pairs["model_b"].isin(models)]
    place_of = {name: index for index, name in enumerate(models)}
    at = [
        known["measure"].map({name: index for index, name in enumerate(measures)}),
        known["model_a"].map(place_of),
        known["model_b"].map(place_of),
    ]
    values = torch.tensor(known["similarity"].to_numpy(dtype="float64"))
    stacked = stack_model_pairs(
        torch.tensor(np.stack([column.to_numpy(dtype="int64") for column in at])),
        values,
        shape=(len(measures), len(models)),
    )
    accuracies = torch.tensor(accuracy.loc[models].to_numpy(dtype="float64"))
    return torch.cat([stacked, (accuracies[:, None] - accuracies).abs()[None]])


def _all_pairs(n_models: int) -> Tensor:
    import torch

    return torch.ones(n_models, n_models, dtype=torch.bool).triu(diagonal=1)


def _bound(matrices: Tensor, mask: Tensor, params: GapParams) -> tuple[Tensor, Tensor]:
    """Return the ends of the intervals of Pearson's r, each of shape (n_measures,)."""
    import torch

    from rep_kedro.kernels.statistics.bootstrap import bootstrap_consistency
    from rep_kedro.kernels.statistics.resampling import draw_bootstrap_counts

    n_measures, n_models = len(matrices) - 1, matrices.shape[1]
    if not params.n_bootstrap or not n_models:
        low, high = torch.full((2, n_measures), torch.nan, dtype=torch.float64)
        return low, high
    counts = draw_bootstrap_counts(
        torch.zeros(n_models, dtype=torch.int64),
        params.n_bootstrap,
        generator=torch.Generator().manual_seed(params.seed),
    )
    interval = bootstrap_consistency(matrices, mask[None], counts, confidence=params.confidence)
    return interval.low[0, :-1, -1], interval.high[0, :-1, -1]


def _test(matrices: Tensor, params: GapParams) -> tuple[Tensor, Tensor]:
    """Return p-values of Pearson's r and the smallest that were possible, each of shape (n_measures,)."""
    import torch

    from rep_kedro.kernels.statistics.mantel import permute_defined

    n_measures, n_models = len(matrices) - 1, matrices.shape[1]
    if not params.n_permutations or n_models < 2:
        nothing = torch.full((n_measures,), torch.nan, dtype=torch.float64)
        return nothing, nothing
    everyone = torch.ones(n_models, dtype=torch.bool)
    test = permute_defined(
        matrices,
        everyone,
        everyone,
        params.n_permutations,
        generator=torch.Generator().manual_seed(params.seed),
        alternative="two-sided",
    )
    return test.p_value[:-1, -1], test.p_smallest[:-1, -1]


def _correct(table: DataFrame, params: GapParams) -> DataFrame:
    """Add the p-values corrected for the stimulus sets of each measure."""
    import torch

    from rep_kedro.kernels.statistics.families import advise_hopeless, correct_families, explain_hopeless

    measures = sorted(table["measure"].unique())
    found = correct_families(
        torch.tensor(table["p_value"].to_numpy(dtype="float64")),
        torch.tensor(table["p_smallest"].to_numpy(dtype="float64")),
        torch.tensor([measures.index(name) for name in table["measure"]]),
        method=params.correction,
    )
    corrected = table.assign(
        **{name: getattr(found, name).numpy() for name in ("p_adjusted", "p_smallest", "n_tests")}
    )
    for measure, rows in corrected[corrected["n_tests"] > 0].groupby("measure", sort=True):
        if why := explain_hopeless("correlations", len(rows), float(rows["p_smallest"].min())):
            n_networks = [(1 + isqrt(1 + 8 * n_pairs)) // 2 for n_pairs in rows["n_pairs"].astype(int)]
            advice = advise_hopeless(
                [factorial(n) for n in n_networks], max(n_networks), method=params.correction, otherwise=RAISE
            )
            _log.warning("performance gaps under %s: %s; %s", measure, why, advice)
    return corrected
