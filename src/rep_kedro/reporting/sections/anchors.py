"""Of one network held fixed: is who is like it the same on other images?"""

import pandas as pd

from rep_kedro.reporting.page import Column, Table, list_in_words, make_table, write_number
from rep_kedro.reporting.style import written

ALL = "anchor: all"
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
NUMBERS = ("median_a", "median_b", "difference_low", "difference_high", "p_adjusted")


def anchors_in_words(summary: pd.DataFrame) -> list[str]:
    """Give the median consistency of each anchor with all other networks.

    Args:
        summary: ``consistency_summary``, rows of one measure.
    """
    rows = summary[(summary["category"] == ALL) & summary["median_pearson"].notna()]
    if not len(rows):
        return []
    rows = rows.sort_values("median_pearson", ascending=False, kind="stable")
    told = [
        f"{str(row.pair).rpartition(' / ')[0]} (median {write_number(row.median_pearson, digits=2)})"
        for row in rows.itertuples()
    ]
    return [f"Who is like one given network, on one stimulus set and another: {list_in_words(told)}."]


def comparisons_in_words(comparisons: pd.DataFrame) -> list[str]:
    """Count the kinds of network that differ, and name the clearest difference."""
    tested = comparisons.dropna(subset=["p_adjusted"])
    if not len(tested):
        return []
    is_beyond = (tested["p_adjusted"] < LEVEL) & (tested["difference_low"] * tested["difference_high"] > 0)
    sentence = (
        f"Consistency with an anchor differs between kinds of network in {int(is_beyond.sum())} of "
        f"{len(tested)} comparisons (corrected p < {LEVEL} and an interval that leaves out 0)"
    )
    clear = tested[is_beyond]
    if not len(clear):
        return [f"{sentence}."]
    gap = (clear["median_a"] - clear["median_b"]).abs()
    first = clear.iloc[int(gap.to_numpy().argmax())]
    high, low = ("a", "b") if first["median_a"] > first["median_b"] else ("b", "a")
    return [
        f"{sentence}; most with {first['anchor']}: {written(first[f'value_{high}'])} networks "
        f"{write_number(first[f'median_{high}'], digits=2)}, {written(first[f'value_{low}'])} networks "
        f"{write_number(first[f'median_{low}'], digits=2)}."
    ]


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
    return [make_table(rows, COLUMNS, caption, most_rows=most_rows, is_folded=True)]
