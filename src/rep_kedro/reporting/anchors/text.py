"""Are the similarities with one given network the same on other images?"""

from typing import Any

import pandas as pd

from rep_kedro.reporting.names import written
from rep_kedro.reporting.page import Column, Table, counted, list_in_words, make_table, write_number

LEVEL = 0.01
COLUMNS = {
    "anchor": Column("anchor"),
    "category": Column("grouped by"),
    "value_a": Column("kind"),
    "value_b": Column("other kind"),
    "median_a": Column("median r", "number", 2),
    "median_b": Column("median r of the other", "number", 2),
    "difference_low": Column("difference from", "number", 2),
    "difference_high": Column("to", "number", 2),
    "p_adjusted": Column("p, corrected", "number"),
    "reason": Column("why undefined"),
}


def anchors_in_words(summary: pd.DataFrame) -> list[str]:
    """Give the median consistency of each anchor with all other networks, with its interval.

    Args:
        summary: ``consistency_summary``, rows of one measure.
    """
    rows = summary[(summary["anchor"] != "") & (summary["category"] == "all")]
    rows = rows[rows["median_pearson"].notna()].sort_values("anchor", kind="stable")
    if not len(rows):
        return []
    medians = [f"{row.anchor} (median r = {_with_interval(row)})" for row in rows.itertuples()]
    return [f"Consistency of the similarities with one given network: {list_in_words(medians)}."]


def _with_interval(row: Any) -> str:
    median, low, high = (
        write_number(getattr(row, name), digits=2) for name in ("median_pearson", "median_low", "median_high")
    )
    n = f"over {counted(int(row.n_pairs), 'pair')} of networks"
    return f"{median} {n}" if pd.isna(row.median_low) else f"{median} {n}, interval {low} to {high}"


def comparisons_in_words(comparisons: pd.DataFrame) -> list[str]:
    """Count the kinds of network that differ, among the comparisons that could have shown it."""
    tested = comparisons.dropna(subset=["p_adjusted"])
    if not len(tested):
        return []
    able = tested[tested["p_smallest"] < LEVEL]
    sentences = []
    if len(able):
        is_beyond = (able["p_adjusted"] < LEVEL) & (able["difference_low"] * able["difference_high"] > 0)
        sentences.append(
            f"Consistency with an anchor differs between kinds of network in {int(is_beyond.sum())} of "
            f"{len(able)} comparisons (p < {LEVEL}, corrected for those of the anchor, and an interval that "
            f"leaves out 0)."
        )
    n_unable = len(tested) - len(able)
    if n_unable:
        least = write_number(tested["p_smallest"].min(), digits=2)
        sentences.append(
            f"In {n_unable} of {len(tested)} comparisons of an anchor's kinds of network no difference could "
            f"be significant: with so few pairs of stimulus sets the corrected p cannot be below {LEVEL} "
            f"(smallest possible: {least})."
        )
    return sentences


def anchor_table(comparisons: pd.DataFrame, measure: str, most_rows: int) -> list[Table]:
    """Return the comparisons, the clearest first."""
    if not len(comparisons):
        return []
    rows = comparisons.assign(
        value_a=comparisons["value_a"].map(written),
        value_b=comparisons["value_b"].map(written),
        reason=comparisons["reason"].replace("", None),
    ).sort_values("p_adjusted", kind="stable", na_position="last")
    caption = f"Kinds of network compared by their consistency with an anchor ({measure})"
    return [
        make_table(rows, COLUMNS, caption, most_rows=most_rows, is_folded=True, of=["anchor_comparisons"])
    ]
