"""Which networks represent the same images similarly?"""

from collections.abc import Sequence

import pandas as pd
from scipy.special import ndtri

from rep_kedro.reporting.content import ReportContent
from rep_kedro.reporting.headlines import ends_in_words, rank_kinds, rank_sameness
from rep_kedro.reporting.model_maps.text import (
    best_clusters,
    clusters_in_words,
    spread_in_words,
    tables_of,
)
from rep_kedro.reporting.names import written_kind
from rep_kedro.reporting.page import Column, Section, Table, counted, make_table, write_number
from rep_kedro.reporting.pairs import KIND, kinds_of, with_kinds
from rep_kedro.reporting.run.absences import absence_in_words, across_sets, undefined_in_words
from rep_kedro.reporting.tables import in_order

BY_OBJECTIVE_COLUMNS = {
    "pair": Column("objectives of the two networks"),
    "mean": Column("mean similarity", "number"),
    "median": Column("median", "number"),
    "min": Column("smallest", "number"),
    "max": Column("largest", "number"),
    "count": Column("defined values", "count"),
    "size": Column("all values", "count"),
}
CONFIDENCE = 0.95  # of intervals over stimuli, where the parameters do not say otherwise
ORDER_NOTE = "Sorted by the estimates; other networks of these kinds may give another order."
PAIR_COLUMNS = {
    "model_a": Column("network"),
    "model_b": Column("other network"),
    "mean": Column("mean similarity", "number"),
    "smallest": Column("smallest over stimulus sets", "number"),
    "largest": Column("largest", "number"),
}


def describe(content: ReportContent) -> list[Section]:
    """Say how similar networks are, and which kinds of them are most and least similar."""
    rows = content.of_measure("similarities")
    cards, clusters = content.table("model_cards"), best_clusters(content.of_measure("model_clusters"))
    n_models = len(set(rows["model_a"]) | set(rows["model_b"]))
    sets = in_order(rows["stimulus_set"])
    shown = (
        f"measure {content.measure}; {counted(n_models, 'network')} on {counted(len(sets), 'stimulus set')}"
    )
    spread, left_out = across_sets(
        content,
        content.block("mean_and_spread", shown),
        content.block("mean_and_std_maps", shown, is_folded=True),
    )
    return [
        Section(
            anchor="alike",
            answers=[
                *pairs_in_words(rows),
                *objectives_in_words(
                    rows,
                    content.of_measure("similarity_inference"),
                    confidence=content.parameters.get("similarity_inference", {}).get(
                        "confidence", CONFIDENCE
                    ),
                ),
            ],
            details=[*clusters_in_words(clusters, cards), *spread_in_words(rows)],
            notes=[
                *undefined_in_words(rows, "similarity", "similarity values"),
                *absence_in_words(rows, content, "similarities"),
                *absence_in_words(content.of_measure("model_positions"), content, "model_positions"),
                *absence_in_words(content.of_measure("model_clusters"), content, "model_clusters"),
                *left_out,
            ],
            figures=[
                content.block("similarity", f"{shown}; all panels share one colour scale"),
                content.block("model_maps", f"{shown}; 1 − similarity as distance"),
                content.block(
                    "similarity_map",
                    f"{shown}; multidimensional scaling of 1 − similarity",
                    is_folded=True,
                ),
                *spread,
            ],
            tables=[
                *(_tables(rows, content.n_extreme_pairs) if len(rows) else []),
                *tables_of(rows, clusters, cards, content.n_extreme_pairs),
            ],
        )
    ]


def pair_means(rows: pd.DataFrame) -> pd.DataFrame:
    """Return mean, smallest and largest similarity per pair of networks, most similar first.

    Pairs that are undefined on any stimulus set are left out: their mean would be over fewer sets.
    """
    grouped = rows.groupby(["model_a", "model_b"], sort=False)["similarity"]
    means = grouped.agg(
        mean="mean", smallest="min", largest="max", n_defined="count", n_all="size"
    ).reset_index()
    means = means[means["n_defined"] == means["n_all"]]
    return means.sort_values("mean", ascending=False, kind="stable").reset_index(drop=True)


def pairs_in_words(rows: pd.DataFrame) -> list[str]:
    """Say how similar networks are; which pair comes first is left to the tables."""
    means = pair_means(rows)
    if not len(means):
        return []
    n_sets = rows["stimulus_set"].nunique()
    over = f"means over {n_sets} stimulus sets" if n_sets > 1 else "on the one stimulus set"
    if len(means) == 1:
        only = means.iloc[0]
        mean = write_number(only["mean"])
        return [f"{only['model_a']} and {only['model_b']} have a similarity of {mean} ({over})."]
    low, median, high = (write_number(means["mean"].quantile(share)) for share in (0.25, 0.5, 0.75))
    return [
        f"The similarity of two networks has a median of {median}, and is between {low} and {high} for the "
        f"middle half of {len(means):,} pairs ({over})."
    ]


def objectives_in_words(
    rows: pd.DataFrame, inference: pd.DataFrame, *, confidence: float = CONFIDENCE
) -> list[str]:
    """Name the objectives whose networks are most and least similar, where that can be said.

    Args:
        rows: ``similarities``, of one measure.
        inference: ``similarity_inference`` of that measure: how sure similarities are over stimuli.
        confidence: Of its intervals.
    """
    rows, error = with_errors(rows, inference, confidence)
    sentences = ends_in_words(
        rank_kinds(rows, "similarity", error=error),
        rank_kinds(rows, "similarity", error=error, smallest=True),
        "By objective, {name} pairs are {end} similar",
        "By objective, which pairs are {end} similar",
    )
    sameness = rank_sameness(rows, "similarity", error=error)
    if sameness is not None:
        sentences.append(
            sameness.in_words(
                "Networks of {name} are more similar",
                "Whether networks of the same objective are more similar",
            )
        )
    return sentences


def with_errors(
    rows: pd.DataFrame, inference: pd.DataFrame, confidence: float
) -> tuple[pd.DataFrame, str | None]:
    """Return similarities with their standard errors over stimuli, and that column's name if there is one."""
    width = inference["similarity_high"] - inference["similarity_low"]
    error = width / (2 * float(ndtri((1 + confidence) / 2)))
    known = inference.assign(error=error).dropna(subset=["error"])
    if not len(known):
        return rows, None
    keys = ["stimulus_set", "model_a", "model_b"]
    return rows.merge(known[[*keys, "error"]], on=keys, how="left"), "error"


def _tables(rows: pd.DataFrame, n_extreme: int) -> Sequence[Table]:
    by_objective = (
        with_kinds(rows, "objective")
        .groupby(list(KIND), sort=True)["similarity"]
        .agg(["mean", "median", "min", "max", "count", "size"])
        .reset_index()
        .sort_values("mean", ascending=False, kind="stable")
    )
    by_objective = by_objective.assign(pair=[written_kind(kind) for kind in kinds_of(by_objective)])
    means = pair_means(rows)
    if len(means) <= 2 * n_extreme:
        extremes, caption = means, "All pairs"
    else:
        extremes = pd.concat([means.head(n_extreme), means.tail(n_extreme)])
        caption = f"The {n_extreme} most and the {n_extreme} least similar pairs"
    caption += ", by mean over the stimulus sets"
    return [
        make_table(
            by_objective,
            BY_OBJECTIVE_COLUMNS,
            "Similarity by objective, over all network pairs and stimulus sets",
            note=ORDER_NOTE,
        ),
        make_table(extremes, PAIR_COLUMNS, caption, note=ORDER_NOTE, is_folded=True),
    ]
