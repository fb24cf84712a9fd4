"""Does similarity on some images hold on other images?"""

from collections.abc import Sequence

import pandas as pd

from rep_kedro.reporting.content import ReportContent
from rep_kedro.reporting.page import Column, Section, Table, counted, make_table, write_number
from rep_kedro.reporting.sections.absences import absence_in_words
from rep_kedro.reporting.sections.anchors import NUMBERS as COMPARISON_NUMBERS
from rep_kedro.reporting.sections.anchors import anchor_table, anchors_in_words, comparisons_in_words
from rep_kedro.reporting.sections.similarity import medians_by_falling, undefined_in_words, with_numbers
from rep_kedro.reporting.style import written

BY_MEASURE_COLUMNS = {
    "measure": Column("measure"),
    "pearson": Column("median Pearson r", "number", 2),
    "spearman": Column("median Spearman ρ", "number", 2),
    "n_defined": Column("defined", "count"),
    "n_all": Column("pairs of stimulus sets", "count"),
}
DETAIL_COLUMNS = {
    "category": Column("grouped by"),
    "pair": Column("kind of pair"),
    "stimulus_set_a": Column("stimulus set"),
    "stimulus_set_b": Column("other set"),
    "n_pairs": Column("network pairs", "count"),
    "pearson": Column("Pearson r", "number", 2),
    "pearson_low": Column("interval from", "number", 2),
    "pearson_high": Column("to", "number", 2),
    "p_value": Column("p", "number"),
    "p_adjusted": Column("p, corrected", "number"),
    "spearman": Column("Spearman ρ", "number", 2),
    "reason": Column("why undefined"),
}
SUMMARY_COLUMNS = {
    "category": Column("grouped by"),
    "pair": Column("kind of pair"),
    "n_pairs": Column("network pairs", "count"),
    "median_pearson": Column("median Pearson r", "number", 2),
    "median_low": Column("interval from", "number", 2),
    "median_high": Column("to", "number", 2),
    "smallest": Column("smallest", "number", 2),
    "largest": Column("largest", "number", 2),
    "n_defined": Column("defined", "count"),
}
SUMMARY_NUMBERS = ("median_pearson", "median_low", "median_high", "smallest", "largest")
LEVEL = 0.05


def describe(content: ReportContent) -> list[Section]:
    """Say how far similarities on one stimulus set tell those on another."""
    rows = with_numbers(content.of_measure("consistency"), "pearson", "spearman", "p_value", "p_adjusted")
    summary = with_numbers(content.of_measure("consistency_summary"), *SUMMARY_NUMBERS)
    comparisons = with_numbers(content.of_measure("anchor_comparisons"), *COMPARISON_NUMBERS)
    n_set_pairs = len(rows[["stimulus_set_a", "stimulus_set_b"]].drop_duplicates())
    shown = f"measure {content.measure}; Pearson's r; {counted(n_set_pairs, 'pair')} of stimulus sets"
    return [
        Section(
            anchor="consistency",
            answers=[*consistency_in_words(rows), *certainty_in_words(rows, summary)],
            details=[*anchors_in_words(summary), *comparisons_in_words(comparisons)],
            notes=[
                *undefined_in_words(rows, "pearson", "consistency values"),
                *absence_in_words(rows, content, "consistency"),
                *absence_in_words(summary, content, "consistency_summary"),
                *_absence_of_anchors(comparisons, summary),
            ],
            figures=[
                content.block("figure_consistency", shown),
                content.block("set_pairs", shown),
                content.block("set_scatter", f"measure {content.measure}", is_folded=True),
                content.block("consistency_by_category", shown, is_folded=True),
                content.block("anchors", shown),
            ],
            tables=[
                *(_tables(content, rows, summary) if len(content.table("consistency")) else []),
                *anchor_table(comparisons, content.measure, content.n_run_rows),
            ],
        )
    ]


def _absence_of_anchors(comparisons: pd.DataFrame, summary: pd.DataFrame) -> list[str]:
    """Say that anchors were not compared although there are some."""
    has_anchors = summary["category"].astype(str).str.startswith("anchor: ").any()
    if len(comparisons) or not has_anchors:
        return []
    return ["This run made no table anchor_comparisons: kinds of network are not compared by their anchors."]


def consistency_in_words(rows: pd.DataFrame) -> list[str]:
    """Give the median over all pairs, and the kinds with the highest and the lowest."""
    overall = rows[rows["category"] == "all"]["pearson"].dropna()
    sentences = []
    if len(overall):
        median, low, high = (
            write_number(x, digits=2) for x in (overall.median(), overall.min(), overall.max())
        )
        sentences.append(
            f"Over all network pairs, consistency has a median of {median} (from {low} to {high} over "
            f"{len(overall)} pairs of stimulus sets)."
            if len(overall) > 1
            else f"Over all network pairs, consistency is {median} (one pair of stimulus sets)."
        )
    medians = medians_by_falling(rows[rows["category"] == "objective"], "pair", "pearson")
    if len(medians) > 1:
        (best, highest), *_, (worst, lowest) = medians
        sentences.append(
            f"Among pairs grouped by objective, it is highest for {written(best)} pairs (median "
            f"{write_number(highest, digits=2)}{_size(rows, best)}) and lowest for {written(worst)} pairs "
            f"({write_number(lowest, digits=2)}{_size(rows, worst)}); with few pairs it swings, "
            f"see the intervals."
        )
        if len(overall) and overall.median() > highest:
            sentences.append(
                "All pairs together are more consistent than any such group: differences between groups "
                "count there as well, and they hold on other images."
            )
    return sentences


def certainty_in_words(rows: pd.DataFrame, summary: pd.DataFrame) -> list[str]:
    """Give the interval of the overall median, and how many correlations are beyond chance."""
    sentences = []
    overall = summary[(summary["category"] == "all") & summary["median_low"].notna()]
    if len(overall):
        low, high = (write_number(overall.iloc[0][name], digits=2) for name in ("median_low", "median_high"))
        sentences.append(
            f"Other networks of these kinds on other stimulus sets might put that median between {low} "
            f"and {high} (bootstrap interval over networks and stimulus sets)."
        )
    tested = rows[rows["category"] == "all"].dropna(subset=["p_adjusted"])
    if len(tested):
        n_beyond = int((tested["p_adjusted"] <= LEVEL).sum())
        sentences.append(
            f"{n_beyond} of these {len(tested)} correlations are larger than with the names of the networks "
            f"permuted (p ≤ {LEVEL}, corrected)."
        )
    return sentences


def _size(rows: pd.DataFrame, pair: str) -> str:
    """How many network pairs the correlations of one kind rest on."""
    counts = rows[(rows["category"] == "objective") & (rows["pair"] == pair)]["n_pairs"]
    low, high = int(counts.min()), int(counts.max())
    return f", {low} network pairs" if low == high else f", {low} to {high} network pairs"


def _tables(content: ReportContent, rows: pd.DataFrame, summary: pd.DataFrame) -> Sequence[Table]:
    everything = with_numbers(content.table("consistency"), "pearson", "spearman")
    by_measure = (
        everything[everything["category"] == "all"]
        .groupby("measure", sort=True)
        .agg(
            pearson=("pearson", "median"),
            spearman=("spearman", "median"),
            n_defined=("pearson", "count"),
            n_all=("pearson", "size"),
        )
        .reset_index()
    )
    detail = rows.assign(pair=rows["pair"].map(written), reason=rows["reason"].replace("", None))
    kinds = summary.assign(pair=summary["pair"].map(written))
    kinds = kinds.sort_values("median_pearson", ascending=False, na_position="last", kind="stable")
    return [
        make_table(by_measure, BY_MEASURE_COLUMNS, "Consistency over all network pairs, by measure"),
        make_table(
            kinds,
            SUMMARY_COLUMNS,
            f"Median consistency by kind of network pair ({content.measure})",
            is_folded=True,
        ),
        make_table(
            detail,
            DETAIL_COLUMNS,
            f"All consistency values ({content.measure})",
            most_rows=content.n_run_rows,
            is_folded=True,
        ),
    ]
