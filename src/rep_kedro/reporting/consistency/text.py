"""Does similarity on some images hold on other images?"""

from collections.abc import Sequence

import pandas as pd

from rep_kedro.reporting.anchors.text import anchor_table, anchors_in_words, comparisons_in_words
from rep_kedro.reporting.certainty.chance import chance_in_words
from rep_kedro.reporting.content import ReportContent
from rep_kedro.reporting.headlines import ends_in_words, rank_consistency
from rep_kedro.reporting.names import written_kind
from rep_kedro.reporting.page import Column, Section, Table, counted, make_table, write_number
from rep_kedro.reporting.pairs import kinds_of
from rep_kedro.reporting.run.absences import absence_in_words, across_sets, undefined_in_words

BY_MEASURE_COLUMNS = {
    "measure": Column("measure"),
    "pearson": Column("median Pearson r", "number", 2),
    "spearman": Column("median Spearman ρ", "number", 2),
    "n_defined": Column("defined", "count"),
    "n_all": Column("pairs of stimulus sets", "count"),
}
DETAIL_COLUMNS = {
    "anchor": Column("anchor"),
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
    "anchor": Column("anchor"),
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


def describe(content: ReportContent) -> list[Section]:
    """Say how far similarities on one stimulus set predict those on another."""
    rows = content.of_measure("consistency")
    summary = content.of_measure("consistency_summary")
    comparisons = content.of_measure("anchor_comparisons")
    n_set_pairs = len(rows[["stimulus_set_a", "stimulus_set_b"]].drop_duplicates())
    shown = f"measure {content.measure}; Pearson's r; {counted(n_set_pairs, 'pair')} of stimulus sets"
    figures, left_out = across_sets(
        content,
        content.block("consistency", shown),
        content.block("set_pairs", shown),
        content.block("set_scatter", f"measure {content.measure}", is_folded=True),
        content.block("consistency_by_category", shown, is_folded=True),
        content.block("anchors", shown),
    )
    return [
        Section(
            anchor="consistency",
            answers=[
                *consistency_in_words(rows),
                *certainty_in_words(rows, summary),
                *(kinds_in_words(content.of_measure("similarities")) if len(rows) else []),
            ],
            details=[*anchors_in_words(summary), *comparisons_in_words(comparisons)],
            notes=[
                *undefined_in_words(rows, "pearson", "consistency values"),
                *absence_in_words(rows, content, "consistency"),
                *absence_in_words(summary, content, "consistency_summary"),
                *_absence_of_anchors(comparisons, summary),
                *left_out,
            ],
            figures=figures,
            tables=[
                *(_tables(content, rows, summary) if len(content.table("consistency")) else []),
                *anchor_table(comparisons, content.measure, content.n_run_rows),
            ],
        )
    ]


def _absence_of_anchors(comparisons: pd.DataFrame, summary: pd.DataFrame) -> list[str]:
    """Say that anchors were not compared although there are some."""
    if len(comparisons) or not (summary["anchor"] != "").any():
        return []
    return ["This run made no table anchor_comparisons: kinds of network are not compared by their anchors."]


def consistency_in_words(rows: pd.DataFrame) -> list[str]:
    """Give the median over all pairs of networks."""
    overall = _of_all(rows)["pearson"].dropna()
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
    return sentences


def kinds_in_words(similarities: pd.DataFrame) -> list[str]:
    """Name the objectives whose pairs are most and least consistent, where that can be said."""
    return ends_in_words(
        rank_consistency(similarities),
        rank_consistency(similarities, smallest=True),
        "By objective, {name} pairs are {end} consistent (median r)",
        "By objective, which pairs are {end} consistent (median r)",
    )


def certainty_in_words(rows: pd.DataFrame, summary: pd.DataFrame) -> list[str]:
    """Give the interval of the overall median, and how many correlations are beyond chance."""
    sentences = []
    overall = _of_all(summary)
    overall = overall[overall["median_low"].notna()]
    if len(overall):
        low, high = (write_number(overall.iloc[0][name], digits=2) for name in ("median_low", "median_high"))
        sentences.append(
            f"Other networks of these kinds on other stimulus sets might put that median between {low} "
            f"and {high} (bootstrap interval over networks and stimulus sets)."
        )
    return sentences + chance_in_words(
        _of_all(rows), "correlations", "with the names of the networks permuted"
    )


def _of_all(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[(rows["category"] == "all") & (rows["anchor"] == "")]


def _tables(content: ReportContent, rows: pd.DataFrame, summary: pd.DataFrame) -> Sequence[Table]:
    everything = content.table("consistency")
    by_measure = (
        _of_all(everything)
        .groupby("measure", sort=True)
        .agg(
            pearson=("pearson", "median"),
            spearman=("spearman", "median"),
            n_defined=("pearson", "count"),
            n_all=("pearson", "size"),
        )
        .reset_index()
    )
    detail = rows.assign(
        pair=[written_kind(kind) for kind in kinds_of(rows)], reason=rows["reason"].replace("", None)
    )
    kinds = summary.assign(pair=[written_kind(kind) for kind in kinds_of(summary)])
    kinds = kinds.sort_values("median_pearson", ascending=False, na_position="last", kind="stable")
    return [
        make_table(
            by_measure,
            BY_MEASURE_COLUMNS,
            "Consistency over all network pairs, by measure",
            of=["consistency_summary"],
        ),
        make_table(
            kinds,
            SUMMARY_COLUMNS,
            f"Median consistency by kind of network pair ({content.measure})",
            of=["consistency_summary"],
            is_folded=True,
        ),
        make_table(
            detail,
            DETAIL_COLUMNS,
            f"All consistency values ({content.measure})",
            of=["consistency"],
            most_rows=content.n_run_rows,
            is_folded=True,
        ),
    ]
