"""Which networks represent the same images alike?"""

from collections.abc import Sequence

import pandas as pd

from rep_kedro.reporting.content import ReportContent
from rep_kedro.reporting.page import Column, Section, Table, counted, make_table, write_number
from rep_kedro.reporting.sections.absences import absence_in_words
from rep_kedro.reporting.sections.clusters import (
    best_clusters,
    clusters_in_words,
    spread_in_words,
    tables_of,
)
from rep_kedro.reporting.style import written
from rep_kedro.reporting.tables import in_order

BY_OBJECTIVE_COLUMNS = {
    "pair": Column("objectives of the two networks"),
    "median": Column("median similarity", "number"),
    "min": Column("smallest", "number"),
    "max": Column("largest", "number"),
    "count": Column("defined values", "count"),
    "size": Column("all values", "count"),
}
PAIR_COLUMNS = {
    "model_a": Column("network"),
    "model_b": Column("other network"),
    "mean": Column("mean similarity", "number"),
    "smallest": Column("smallest over stimulus sets", "number"),
    "largest": Column("largest", "number"),
}


def describe(content: ReportContent) -> list[Section]:
    """Say which networks and kinds of networks are most and least alike."""
    rows = with_numbers(content.of_measure("similarities"), "similarity")
    cards, clusters = content.table("model_cards"), best_clusters(content.of_measure("model_clusters"))
    n_models = len(set(rows["model_a"]) | set(rows["model_b"]))
    sets = in_order(rows["stimulus_set"])
    shown = (
        f"measure {content.measure}; {counted(n_models, 'network')} on {counted(len(sets), 'stimulus set')}"
    )
    return [
        Section(
            anchor="alike",
            answers=[*pairs_in_words(rows), *objectives_in_words(rows)],
            details=[*clusters_in_words(clusters, cards), *spread_in_words(rows)],
            notes=[
                *undefined_in_words(rows, "similarity", "similarity values"),
                *absence_in_words(rows, content, "similarities"),
                *absence_in_words(content.of_measure("model_positions"), content, "model_positions"),
                *absence_in_words(content.of_measure("model_clusters"), content, "model_clusters"),
            ],
            figures=[
                content.block("figure_similarity", f"{shown}; all panels share one colour scale"),
                content.block("model_maps", f"{shown}; 1 − similarity as distance"),
                content.block(
                    "similarity_map",
                    f"{shown}; multidimensional scaling of 1 − similarity",
                    is_folded=True,
                ),
                content.block("mean_and_spread", shown),
                content.block("mean_and_std_maps", shown, is_folded=True),
            ],
            tables=[
                *(_tables(rows, content.n_extreme_pairs) if len(rows) else []),
                *tables_of(rows, clusters, cards, content.n_extreme_pairs),
            ],
        )
    ]


def with_numbers(rows: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Return the rows with these columns as float64, whatever an empty table made of them."""
    return rows.assign(**{column: pd.to_numeric(rows[column]).astype("float64") for column in columns})


def pair_means(rows: pd.DataFrame) -> pd.DataFrame:
    """Return mean, smallest and largest similarity per pair of networks, most alike first.

    Pairs that are undefined on any stimulus set are left out: their mean would be over fewer sets.
    """
    grouped = rows.groupby(["model_a", "model_b"], sort=False)["similarity"]
    means = grouped.agg(
        mean="mean", smallest="min", largest="max", n_defined="count", n_all="size"
    ).reset_index()
    means = means[means["n_defined"] == means["n_all"]]
    return means.sort_values("mean", ascending=False, kind="stable").reset_index(drop=True)


def pairs_in_words(rows: pd.DataFrame) -> list[str]:
    """Name the most and the least similar pair."""
    means = pair_means(rows)
    if not len(means):
        return []
    first, last = means.iloc[0], means.iloc[-1]
    n_sets = rows["stimulus_set"].nunique()
    over = f"means over {n_sets} stimulus sets" if n_sets > 1 else "on the one stimulus set"
    if len(means) == 1:
        mean = write_number(first["mean"])
        return [f"{first['model_a']} and {first['model_b']} have a similarity of {mean} ({over})."]
    most = (
        f"Most alike are {first['model_a']} and {first['model_b']}: similarity {write_number(first['mean'])}"
    )
    least = f"least alike are {last['model_a']} and {last['model_b']}: {write_number(last['mean'])}"
    return [f"{most}; {least} ({over})."]


def objectives_in_words(rows: pd.DataFrame) -> list[str]:
    """Compare kinds of pairs by their median similarity."""
    medians = medians_by_falling(rows, "objective_pair", "similarity")
    if len(medians) < 2:
        return []
    (best, highest), *_, (worst, lowest) = medians
    sentences = [
        f"By objective, {written(best)} pairs are most alike (median {write_number(highest)}) and "
        f"{written(worst)} pairs least ({write_number(lowest)})."
    ]
    is_same = rows["objective_a"] == rows["objective_b"]
    same, other = rows[is_same]["similarity"].median(), rows[~is_same]["similarity"].median()
    if pd.notna(same) and pd.notna(other):
        sentences.append(
            f"Median similarity is {write_number(same)} between networks of the same objective and "
            f"{write_number(other)} between networks of different objectives."
        )
    return sentences


def medians_by_falling(rows: pd.DataFrame, group: str, column: str) -> list[tuple[str, float]]:
    """Return (group, median) with the highest first; groups without a defined value are left out."""
    medians = rows.groupby(group)[column].median().dropna().sort_values(ascending=False, kind="stable")
    return [(str(name), float(value)) for name, value in medians.items()]


def be(n: int) -> str:
    """Return the verb for so many."""
    return "is" if n == 1 else "are"


def undefined_in_words(rows: pd.DataFrame, column: str, what: str) -> list[str]:
    """Say how many values are undefined, and why; nothing where all are defined."""
    undefined = rows[rows[column].isna()]
    if not len(undefined):
        return []
    reasons = (
        undefined["reason"].fillna("").astype(str).replace("", "no reason given").value_counts(sort=True)
    )
    told = "; ".join(f"{reason} ({count})" for reason, count in reasons.head(3).items())
    more = f"; and {len(reasons) - 3} further reasons" if len(reasons) > 3 else ""
    return [f"{len(undefined)} of {len(rows)} {what} {be(len(undefined))} undefined: {told}{more}."]


def _tables(rows: pd.DataFrame, n_extreme: int) -> Sequence[Table]:
    by_objective = (
        rows.assign(pair=rows["objective_pair"].map(written))
        .groupby("pair", sort=True)["similarity"]
        .agg(["median", "min", "max", "count", "size"])
        .reset_index()
        .sort_values("median", ascending=False, kind="stable")
    )
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
        ),
        make_table(extremes, PAIR_COLUMNS, caption, is_folded=True),
    ]
