"""Sections: which networks represent images alike, does it hold on other images, does performance follow?"""

from collections.abc import Sequence

import pandas as pd

from rep_kedro.reporting.content import ReportContent
from rep_kedro.reporting.figures import consistency as consistency_figure
from rep_kedro.reporting.figures import performance as performance_figures
from rep_kedro.reporting.figures import similarity as similarity_figures
from rep_kedro.reporting.figures.performance import written_r
from rep_kedro.reporting.page import Column, Section, Table, list_in_words, make_table, write_number
from rep_kedro.reporting.style import written
from rep_kedro.reporting.tables import in_order, pearson, performance_gaps

PAIR_COLUMNS = {
    "model_a": Column("network"),
    "model_b": Column("other network"),
    "mean": Column("mean similarity", "number"),
    "smallest": Column("smallest over stimulus sets", "number"),
    "largest": Column("largest", "number"),
}


def describe_similarity(content: ReportContent) -> Section:
    """Say which networks and kinds of networks are most and least alike."""
    rows = content.of_measure("similarities")
    sets = in_order(rows["stimulus_set"])
    shown = f"measure {content.measure}; {_n_models(rows)} networks on {len(sets)} stimulus sets"
    return Section(
        anchor="alike",
        question=similarity_figures.MAPS_TITLE,
        why="Two networks are alike if images that one tells apart, or takes for much the same, are told apart or "
        "taken for much the same by the other. How many units each has, and in which order, does not matter.",
        answers=[*alike_pairs_in_words(rows), *alike_objectives_in_words(rows)],
        notes=[*undefined_in_words(rows, "similarity", "similarity values"), *_absence(rows, content, "similarities")],
        figures=[
            content.block(
                "figure_similarity",
                title=similarity_figures.MAPS_TITLE,
                reading="Each cell compares the network of its row with the network of its column; bright means "
                "alike. Networks stand in the same order in every panel: clustered by average linkage on 1 − mean "
                "similarity, so that blocks along the diagonal are groups of like networks. Coloured strips name "
                "the objective. Hatched cells are undefined.",
                shown=f"{shown}; all panels share one colour scale",
                misleads="Similarity has no natural zero for every measure: biased estimates rise towards 1 with "
                "many features and few images. Compare cells within one figure, not across measures. Neighbours "
                "in the order need not be alike; look at the cell where they meet.",
            ),
            content.block(
                "figure_similarity_map",
                title=similarity_figures.POSITIONS_TITLE,
                reading="Each mark is a network; the nearer two marks, the more alike. A line joins networks of one "
                "architecture and objective that differ in their seed: short lines mean that the seed matters "
                "little. The axes have no meaning of their own.",
                shown=f"{shown}; classical scaling of 1 − similarity to two dimensions",
                misleads="A plane cannot hold all distances: each title says how much of the spread is shown. "
                "Marks that lie together may still differ in directions that are not shown.",
            ),
        ],
        tables=_similarity_tables(rows, content.n_extreme_pairs),
    )


def pair_means(rows: pd.DataFrame) -> pd.DataFrame:
    """Return mean, smallest and largest similarity per pair of networks, most alike first.

    Pairs that are undefined on any stimulus set are left out: their mean would be over fewer sets.
    """
    grouped = rows.assign(value=rows["similarity"].astype(float)).groupby(["model_a", "model_b"], sort=False)
    means = grouped["value"].agg(
        mean=lambda values: values.mean(skipna=False), smallest="min", largest="max"
    ).reset_index()
    return means.dropna(subset=["mean"]).sort_values("mean", ascending=False, kind="stable").reset_index(drop=True)


def alike_pairs_in_words(rows: pd.DataFrame) -> list[str]:
    """Name the most and the least similar pair."""
    if not len(means := pair_means(rows) if len(rows) else rows):
        return []
    n_sets = rows["stimulus_set"].nunique()
    first, last = means.iloc[0], means.iloc[-1]
    most = f"Most alike are {first['model_a']} and {first['model_b']}: similarity {write_number(first['mean'])}"
    least = f"least alike are {last['model_a']} and {last['model_b']}: {write_number(last['mean'])}"
    return [f"{most}; {least} (means over {n_sets} stimulus sets)."]


def alike_objectives_in_words(rows: pd.DataFrame) -> list[str]:
    """Compare kinds of pairs by their median similarity."""
    medians = rows.assign(value=rows["similarity"].astype(float)).groupby("objective_pair")["value"].median().dropna()
    if len(medians) < 2:
        return []
    best, worst = medians.idxmax(), medians.idxmin()
    sentences = [
        f"By objective, {written(str(best))} pairs are most alike (median {write_number(medians[best])}) and "
        f"{written(str(worst))} pairs least ({write_number(medians[worst])})."
    ]
    same = rows[rows["objective_a"] == rows["objective_b"]]["similarity"].astype(float).median()
    other = rows[rows["objective_a"] != rows["objective_b"]]["similarity"].astype(float).median()
    if pd.notna(same) and pd.notna(other):
        sentences.append(
            f"Median similarity is {write_number(same)} between networks of the same objective and "
            f"{write_number(other)} between networks of different objectives."
        )
    return sentences


def undefined_in_words(rows: pd.DataFrame, column: str, what: str) -> list[str]:
    """Say how many values are undefined, and why; nothing where all are defined."""
    undefined = rows[rows[column].isna()]
    if not len(undefined):
        return []
    reasons = undefined["reason"].fillna("").astype(str).replace("", "no reason given").value_counts(sort=True)
    told = "; ".join(f"{reason} ({count})" for reason, count in reasons.head(3).items())
    more = f"; and {len(reasons) - 3} further reasons" if len(reasons) > 3 else ""
    return [f"{len(undefined)} of {len(rows)} {what} are undefined: {told}{more}."]


def _similarity_tables(rows: pd.DataFrame, n_extreme: int) -> Sequence[Table]:
    if not len(rows):
        return []
    means = pair_means(rows)
    by_objective = (
        rows.assign(value=rows["similarity"].astype(float), pair=rows["objective_pair"].map(written))
        .groupby("pair", sort=True)["value"].agg(["median", "min", "max", "count", "size"]).reset_index()
        .sort_values("median", ascending=False, kind="stable")
    )  # fmt: skip
    extremes = means if len(means) <= 2 * n_extreme else pd.concat([means.head(n_extreme), means.tail(n_extreme)])
    caption = f"The {n_extreme} most and the {n_extreme} least similar pairs" if len(extremes) < len(means) else "All pairs"
    return [
        make_table(
            by_objective,
            {
                "pair": Column("objectives of the two networks"),
                "median": Column("median similarity", "number"),
                "min": Column("smallest", "number"),
                "max": Column("largest", "number"),
                "count": Column("defined values", "count"),
                "size": Column("all values", "count"),
            },
            "Similarity by objective, over all pairs of networks and stimulus sets",
        ),
        make_table(extremes, PAIR_COLUMNS, f"{caption}, by mean over the stimulus sets", is_folded=True),
    ]


def describe_consistency(content: ReportContent) -> Section:
    """Say how far similarities on one stimulus set tell those on another."""
    rows = content.of_measure("consistency")
    n_set_pairs = len(rows[["stimulus_set_a", "stimulus_set_b"]].drop_duplicates())
    return Section(
        anchor="consistency",
        question=consistency_figure.TITLE,
        why="Consistency is the correlation, over pairs of networks, of their similarity on one stimulus set with "
        "that on another. Near 1: who is like whom does not depend on the images. Near 0: it does.",
        answers=consistency_in_words(rows),
        notes=[*undefined_in_words(rows, "pearson", "consistency values"), *_absence(rows, content, "consistency")],
        figures=[
            content.block(
                "figure_consistency",
                title=consistency_figure.TITLE,
                reading="Each row is one kind of network pair; marks further right mean that similarities hold on "
                "other images. Rows are sorted by their median. Grey line: median over all network pairs; band: "
                "its middle half.",
                shown=f"measure {content.measure}; Pearson's r; {n_set_pairs} pairs of stimulus sets",
                misleads="With few networks of a kind, r rests on few pairs and swings; the interval says how far. "
                "Pairs of stimulus sets share networks and sets and are not independent. A kind whose "
                "similarities hardly differ among themselves has low consistency even if every value is stable.",
            )
        ],
        tables=_consistency_tables(content),
    )


def consistency_in_words(rows: pd.DataFrame) -> list[str]:
    """Give the median over all pairs, and the kinds with the highest and the lowest."""
    overall = rows[rows["category"] == "all"]["pearson"].dropna().astype(float)
    sentences = []
    if len(overall):
        sentences.append(
            f"Over all network pairs, consistency has a median of {write_number(overall.median(), digits=2)} "
            f"(from {write_number(overall.min(), digits=2)} to {write_number(overall.max(), digits=2)} over "
            f"{len(overall)} pairs of stimulus sets)."
        )
    kinds = rows[rows["category"] == "objective"].dropna(subset=["pearson"])
    medians = kinds.assign(value=kinds["pearson"].astype(float)).groupby("pair")["value"].median()
    if len(medians) > 1:
        best, worst = medians.idxmax(), medians.idxmin()
        sentences.append(
            f"It is highest for {written(str(best))} pairs (median {write_number(medians[best], digits=2)}) and lowest "
            f"for {written(str(worst))} pairs ({write_number(medians[worst], digits=2)})."
        )
    return sentences


def _consistency_tables(content: ReportContent) -> Sequence[Table]:
    rows, everything = content.of_measure("consistency"), content.table("consistency")
    if not len(everything):
        return []
    by_measure = (
        everything[everything["category"] == "all"]
        .assign(pearson=lambda frame: frame["pearson"].astype(float), spearman=lambda frame: frame["spearman"].astype(float))
        .groupby("measure", sort=True)
        .agg(pearson=("pearson", "median"), spearman=("spearman", "median"), n=("pearson", "count"), size=("pearson", "size"))
        .reset_index()
    )  # fmt: skip
    detail = rows.assign(pair=rows["pair"].map(lambda pair: written(str(pair))))
    return [
        make_table(
            by_measure,
            {
                "measure": Column("measure"),
                "pearson": Column("median Pearson r", "number", 2),
                "spearman": Column("median Spearman ρ", "number", 2),
                "n": Column("defined", "count"),
                "size": Column("pairs of stimulus sets", "count"),
            },
            "Consistency over all network pairs, by measure",
        ),
        make_table(
            detail,
            {
                "category": Column("grouped by"),
                "pair": Column("kind of pair"),
                "stimulus_set_a": Column("stimulus set"),
                "stimulus_set_b": Column("other set"),
                "n_pairs": Column("network pairs", "count"),
                "pearson": Column("Pearson r", "number", 2),
                "pearson_low": Column("interval from", "number", 2),
                "pearson_high": Column("to", "number", 2),
                "spearman": Column("Spearman ρ", "number", 2),
                "reason": Column("why undefined"),
            },
            f"All consistency values ({content.measure})",
            most_rows=content.n_run_rows,
            is_folded=True,
        ),
    ]


def describe_performance_gap(content: ReportContent) -> Section:
    """Say whether similar networks perform alike."""
    gaps = performance_gaps(content.table("similarities"), content.table("probe_results"), content.measure)
    return Section(
        anchor="performance",
        question=performance_figures.GAP_TITLE,
        why="If similarity said how well a network does, the accuracy difference of two networks would fall as "
        "their similarity rises.",
        answers=gaps_in_words(gaps),
        notes=[] if len(gaps) else ["No pair of networks has both a similarity and two probe accuracies."],
        figures=[
            content.block(
                "figure_performance_gap",
                title=performance_figures.GAP_TITLE,
                reading="Each point is a pair of networks: further right, more alike; higher, a larger difference in "
                "probe accuracy; the colour is the better network's accuracy. A falling cloud means that alike "
                "networks perform alike.",
                shown=f"measure {content.measure}; probes of the final layers; {len(gaps)} points in all",
                misleads="Every network is in many pairs, so points are not independent and r has no ordinary "
                "significance. Where all networks do about equally well, differences are mostly chance.",
            )
        ],
    )


def gaps_in_words(gaps: pd.DataFrame) -> list[str]:
    """Give the correlation of similarity with accuracy difference on each stimulus set."""
    told = [
        f"{name} ({written_r(pearson(part['similarity'], part['gap']))})"
        for name, part in gaps.groupby("stimulus_set", sort=True)
    ]
    return [f"Similarity with accuracy difference: {list_in_words(told, 12)}."] if told else []


def _n_models(rows: pd.DataFrame) -> int:
    return len(set(rows["model_a"]) | set(rows["model_b"]))


def _absence(rows: pd.DataFrame, content: ReportContent, table: str) -> list[str]:
    if len(rows):
        return []
    if len(content.table(table)):
        known = list_in_words(in_order(content.table(table)["measure"]))
        return [f"The table {table} has no rows of the measure {content.measure}; it has {known}."]
    return [f"This run made no table {table}: the question stays unanswered."]
