"""Do networks with similar representations make similar errors?"""

import pandas as pd

from rep_kedro.reporting.headlines import rank_kinds
from rep_kedro.reporting.names import written_kind
from rep_kedro.reporting.page import Column, Table, list_in_words, make_table, written_r
from rep_kedro.reporting.pairs import KIND, kinds_of, with_kinds
from rep_kedro.reporting.predictions.figures import agreement_and_similarity
from rep_kedro.reporting.tables import pearson

MOST_SETS = 6
COLUMNS = {
    "pair": Column("objectives of the two networks"),
    "error_consistency": Column("median error consistency κ", "number", 2),
    "disagreement": Column("median disagreement", "percent", 1),
    "jensen_shannon": Column("median Jensen–Shannon divergence (bits)", "number", absent="–"),
    "n": Column("pairs", "count"),
}


def predictions_in_words(agreement: pd.DataFrame, similarities: pd.DataFrame) -> list[str]:
    """Say whether similar networks make similar errors, and which kinds do."""
    joined = agreement_and_similarity(agreement, similarities).dropna(subset=["error_consistency"])
    sentences = []
    values = [
        f"{name} ({written_r(pearson(part['similarity'], part['error_consistency']))})"
        for name, part in joined.groupby("stimulus_set", sort=True)
    ]
    if values:
        sentences.append(
            f"Correlation of similarity with error consistency (κ): {list_in_words(values, MOST_SETS)}."
        )
    if len(agreement):
        ranking = rank_kinds(with_errors(agreement), "error_consistency", error="error")
        if ranking is not None:
            sentences.append(
                ranking.in_words(
                    "{name} pairs have the most errors in common (mean κ)",
                    "By objective, which pairs have the most errors in common (mean κ)",
                )
            )
    return sentences


def with_errors(agreement: pd.DataFrame) -> pd.DataFrame:
    """Return the table with the standard error of each kappa over test images.

    Source: Fleiss, Cohen & Everitt 1969, Psychol Bull 72:323 (large samples, chance agreement as known).
    """
    a, b, kappa = (
        agreement[name].astype("float64") for name in ("accuracy_a", "accuracy_b", "error_consistency")
    )
    by_chance = a * b + (1 - a) * (1 - b)
    agree = (kappa * (1 - by_chance) + by_chance).clip(0, 1)
    n_test = agreement["n_test"].astype("float64")
    return agreement.assign(error=(agree * (1 - agree) / n_test) ** 0.5 / (1 - by_chance))


def prediction_table(agreement: pd.DataFrame) -> list[Table]:
    """Return medians by kind of pair."""
    if not len(agreement):
        return []
    rows = (
        with_kinds(agreement, "objective")
        .groupby(list(KIND), sort=True)
        .agg(
            error_consistency=("error_consistency", "median"),
            disagreement=("disagreement", "median"),
            jensen_shannon=("jensen_shannon", "median"),
            n=("disagreement", "size"),
        )
        .reset_index()
        .sort_values("error_consistency", ascending=False, kind="stable", na_position="last")
    )
    rows = rows.assign(pair=[written_kind(kind) for kind in kinds_of(rows)])
    caption = "Agreement of test predictions by objective, over all pairs and stimulus sets"
    return [make_table(rows, COLUMNS, caption, is_folded=True)]
