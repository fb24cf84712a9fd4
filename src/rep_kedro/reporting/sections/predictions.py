"""Do networks that represent images alike err alike?"""

import pandas as pd

from rep_kedro.reporting.figures.performance import written_r
from rep_kedro.reporting.figures.predictions import agreement_and_similarity
from rep_kedro.reporting.page import Column, Table, list_in_words, make_table, write_number
from rep_kedro.reporting.sections.similarity import medians_by_falling
from rep_kedro.reporting.style import written
from rep_kedro.reporting.tables import pearson

NUMBERS = ("disagreement", "error_consistency", "jensen_shannon")
MOST_SETS = 6
COLUMNS = {
    "pair": Column("objectives of the two networks"),
    "error_consistency": Column("median error consistency κ", "number", 2),
    "disagreement": Column("median disagreement", "percent", 1),
    "jensen_shannon": Column("median Jensen–Shannon divergence (bits)", "number", absent="–"),
    "n": Column("pairs", "count"),
}


def predictions_in_words(agreement: pd.DataFrame, similarities: pd.DataFrame) -> list[str]:
    """Say whether similar networks err alike, and which kinds do."""
    joined = agreement_and_similarity(agreement, similarities).dropna(subset=["error_consistency"])
    sentences = []
    told = [
        f"{name} ({written_r(pearson(part['similarity'], part['error_consistency']))})"
        for name, part in joined.groupby("stimulus_set", sort=True)
    ]
    if told:
        sentences.append(f"Similarity with error consistency (κ): {list_in_words(told, MOST_SETS)}.")
    medians = medians_by_falling(agreement, "objective_pair", "error_consistency")
    if len(medians) > 1:
        (best, highest), *_, (worst, lowest) = medians
        sentences.append(
            f"{_capitalised(written(best))} pairs err most alike (median κ "
            f"{write_number(highest, digits=2)}), {written(worst)} pairs least "
            f"({write_number(lowest, digits=2)})."
        )
    return sentences


def prediction_table(agreement: pd.DataFrame) -> list[Table]:
    """Return medians by kind of pair."""
    if not len(agreement):
        return []
    rows = (
        agreement.assign(pair=agreement["objective_pair"].map(written))
        .groupby("pair", sort=True)
        .agg(
            error_consistency=("error_consistency", "median"),
            disagreement=("disagreement", "median"),
            jensen_shannon=("jensen_shannon", "median"),
            n=("disagreement", "size"),
        )
        .reset_index()
        .sort_values("error_consistency", ascending=False, kind="stable", na_position="last")
    )
    caption = "Agreement of test predictions by objective, over all pairs and stimulus sets"
    return [make_table(rows, COLUMNS, caption, is_folded=True)]


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]
