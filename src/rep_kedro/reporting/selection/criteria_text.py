"""Can the best network be chosen without labels?"""

import pandas as pd

from rep_kedro.kernels.statistics.families import LEVEL
from rep_kedro.reporting.content import ReportContent
from rep_kedro.reporting.names import written
from rep_kedro.reporting.page import Column, Section, counted, list_in_words, make_table, write_number
from rep_kedro.reporting.run.absences import undefined_in_words
from rep_kedro.reporting.selection.criteria_correlations import ALL, FEWEST_RUNS, own_criteria

MOST_NAMED = 8
COLUMNS = {
    "source": Column("source"),
    "group": Column("method"),
    "label": Column("criterion"),
    "criterion_set": Column("measured on", absent="–"),
    "performance": Column("performance"),
    "n_runs": Column("networks", "count"),
    "pearson_log2": Column("Pearson r with log2", "number", 2, absent="–"),
    "spearman": Column("Spearman ρ", "number", 2, absent="–"),
    "spearman_low": Column("interval from", "number", 2, absent="–"),
    "spearman_high": Column("to", "number", 2, absent="–"),
    "kendall": Column("Kendall τ", "number", 2, absent="–"),
}


def describe(content: ReportContent) -> list[Section]:
    """Say for which methods measures without labels order networks as their accuracy does."""
    rows = content.table("selection_criteria")
    own = own_criteria(rows)
    findings = criteria_in_words(own)
    performances = counted(own["place"].nunique(), "performance")
    shown = f"RankMe of the final layer; {performances}" if len(own) else "RankMe of the final layer"
    all_shown = f"{counted(own['label'].nunique(), 'label-free measure')}; {performances}"
    return [
        Section(
            anchor="criteria",
            answers=findings[:1],
            details=findings[1:],
            notes=[
                *_missing_in_words(content),
                *few_in_words(own),
                *pooled_in_words(own),
                *undefined_in_words(own, "spearman", "correlations with accuracy"),
            ],
            figures=[
                content.block("rank_choice", shown),
                content.block("criteria_correlations", all_shown),
                *(content.block(name, shown) for name in ("rank_transfer", "selection_regret")),
            ],
            tables=[
                make_table(
                    own,
                    COLUMNS,
                    "Criteria and performance",
                    most_rows=content.n_run_rows,
                    is_folded=True,
                    of=["selection_criteria"],
                )
            ]
            if len(own)
            else [],
        )
    ]


def _missing_in_words(content: ReportContent) -> list[str]:
    """Name the tables of this section that have no rows."""
    names = [
        name
        for name in ("label_free_measures", "selection_criteria", "selection_regret")
        if not len(content.table(name))
    ]
    if names == ["selection_criteria", "selection_regret"]:
        return []  # few_in_words says why
    return [f"This run made no rows of {list_in_words(names)}."] if names else []


def criteria_in_words(rows: pd.DataFrame) -> list[str]:
    """Name criteria and groups of enough runs where the interval of Spearman's rho excludes zero.

    All criteria of all groups are one family.
    """
    able = rows[(rows["group"] != ALL) & (rows["n_runs"] >= FEWEST_RUNS)].dropna(
        subset=["spearman_low", "spearman_high"]
    )
    is_beyond = able["spearman_p"] * len(able) <= LEVEL  # corrected for the number of criteria and groups
    if not len(able):
        return []
    sentences = []
    for words, part in (
        ("rises with the criterion", able[is_beyond & (able["spearman_low"] > 0)]),
        ("falls with the criterion", able[is_beyond & (able["spearman_high"] < 0)]),
    ):
        named = [
            f"{row.label} for {row.place}, method {written(str(row.group))} "
            f"(ρ\u00a0=\u00a0{write_number(row.spearman, 'number', 2)}, n\u00a0=\u00a0{row.n_runs})"
            for row in part.itertuples()
        ]
        if named:
            sentences.append(f"Accuracy {words}: {list_in_words(named, MOST_NAMED)}.")
    is_open = ~is_beyond | ((able["spearman_low"] <= 0) & (able["spearman_high"] >= 0))
    n_open = int(is_open.sum())
    if n_open:
        sentences.append(
            f"Whether the criterion orders networks as their accuracy does is undecided for "
            f"{n_open} of {counted(len(able), 'pair')} of a criterion and a group of networks: the interval "
            f"of ρ includes 0, or the corrected p exceeds {LEVEL}."
        )
    return sentences


def few_in_words(rows: pd.DataFrame) -> list[str]:
    """Say for how many groups there are too few runs."""
    if not len(rows):
        return ["No network trained here has both a label-free measure and a probe."]
    rows = rows[rows["group"] != ALL]
    n_runs = rows.groupby(["place", "group"])["n_runs"].max()
    n_few = int((n_runs < FEWEST_RUNS).sum())
    return (
        [
            f"{n_few} of {counted(len(n_runs), 'group')} of networks have fewer than {FEWEST_RUNS} networks, "
            "too few to judge a criterion: nothing is stated about them."
        ]
        if n_few
        else []
    )


def pooled_in_words(rows: pd.DataFrame) -> list[str]:
    """Say what rows of several methods together are worth."""
    n_pooled = int((rows["caution"] != "").sum())
    return (
        [
            f"Of the rows of the table, {n_pooled} {'pools' if n_pooled == 1 else 'pool'} several methods: "
            "ranks cannot be compared between methods."
        ]
        if n_pooled
        else []
    )
