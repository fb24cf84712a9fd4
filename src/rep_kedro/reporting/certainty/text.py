"""How sure are these similarities?"""

from collections.abc import Sequence

import pandas as pd

from rep_kedro.reporting.certainty.chance import chance_in_words
from rep_kedro.reporting.content import ReportContent
from rep_kedro.reporting.names import written
from rep_kedro.reporting.page import Column, Section, Table, counted, list_in_words, make_table, write_number
from rep_kedro.reporting.run.absences import absence_in_words, undefined_in_words
from rep_kedro.reporting.tables import in_order

BIASED = (
    "The estimates are biased: more stimuli would give smaller values, and none of these intervals covers "
    "the value in the population."
)
CHANCE = "for stimuli matched at random"
PAIR_COLUMNS = {
    "stimulus_set": Column("stimulus set"),
    "model_a": Column("network"),
    "model_b": Column("other network"),
    "similarity": Column("similarity", "number"),
    "standard_error": Column("standard error", "number", absent="–"),
    "similarity_low": Column("interval from", "number", absent="–"),
    "similarity_high": Column("to", "number", absent="–"),
    "interval_covers": Column("interval covers"),
    "threshold": Column("chance stays below", "number"),
    "calibrated": Column("above chance (0 to 1)", "number"),
    "p_value": Column("p", "number"),
    "p_adjusted": Column("p, corrected", "number"),
}
CEILING_COLUMNS = {
    "stimulus_set": Column("stimulus set"),
    "kind": Column("kind of network"),
    "n_repeats": Column("networks", "count"),
    "ceiling_low": Column("lower bound", "number"),
    "ceiling_high": Column("upper bound", "number"),
    "others_mean": Column("other networks, mean", "number"),
    "others_largest": Column("other networks, largest", "number"),
}
SIZE_COLUMNS = {
    "measure": Column("measure"),
    "stimulus_set": Column("stimulus set"),
    "n_stimuli": Column("stimuli", "count"),
    "mean_similarity": Column("mean similarity", "number"),
    "mean_change": Column("mean |difference| from all", "number"),
    "largest_change": Column("largest", "number"),
    "pearson_with_all": Column("Pearson r with all", "number"),
}


def describe(content: ReportContent) -> list[Section]:
    """Say how far similarities are above chance, how sure they are, and what seeds alone change."""
    pairs = content.of_measure("similarity_inference")
    ceilings = content.of_measure("noise_ceilings")
    sizes = content.table("sample_sizes")
    of_measure = sizes[sizes["measure"] == content.measure]
    n_kinds = len(ceilings[["architecture", "objective", "trained_on", "source"]].drop_duplicates())
    return [
        Section(
            anchor="certainty",
            answers=[
                *chance_in_words(pairs, "similarities", CHANCE),
                *errors_in_words(pairs),
                *ceiling_in_words(ceilings),
                *sizes_in_words(of_measure),
            ],
            details=intervals_in_words(pairs),
            notes=[
                *undefined_in_words(pairs, "similarity", "similarities set against chance"),
                *absence_in_words(pairs, content, "similarity_inference"),
                *absence_in_words(ceilings, content, "noise_ceilings"),
                *absence_in_words(of_measure, content, "sample_sizes"),
            ],
            figures=[
                content.block(
                    "noise_ceiling",
                    f"measure {content.measure}; {counted(n_kinds, 'kind')} of network with repeats",
                ),
                content.block("sample_sizes", f"nested random subsets; {_orders(sizes)}"),
                content.block("subset_sizes", f"nested random subsets; {_orders(sizes)}", is_folded=True),
            ],
            tables=_tables(content, pairs, ceilings, sizes),
        )
    ]


def errors_in_words(pairs: pd.DataFrame) -> list[str]:
    """Give the standard error of the similarities."""
    errors = pairs["standard_error"].dropna()
    if not len(errors):
        return []
    return [
        f"Their standard error over the choice of stimuli has a median of {write_number(errors.median())} "
        f"and is at most {write_number(errors.max())}."
    ]


def intervals_in_words(pairs: pd.DataFrame) -> list[str]:
    """Say what the bootstrap intervals of the similarities are for, how wide they are, and which leave out 0.

    Whether a biased similarity could be 0 is left open: its interval does not cover the population.
    """
    known = pairs.dropna(subset=["similarity_low", "similarity_high"])
    if not len(known):
        return []
    width = known["similarity_high"] - known["similarity_low"]
    sentences = [
        f"Intervals of the similarities (bootstrap over stimuli, {int(known['n_bootstrap'].min())} samples) "
        f"have a median width of {write_number(width.median())}, at most {write_number(width.max())}, "
        f"and cover {list_in_words(in_order(known['interval_covers']))}."
    ]
    is_biased = known["is_biased"].astype(bool)
    if is_biased.any():
        sentences.append(BIASED)
    fair = known[~is_biased]
    if len(fair):
        n_beyond = int(((fair["similarity_low"] > 0) | (fair["similarity_high"] < 0)).sum())
        sentences.append(f"{n_beyond:,} of {len(fair):,} intervals exclude 0.")
    return sentences


def ceiling_in_words(ceilings: pd.DataFrame) -> list[str]:
    """Say how far other networks stay below what networks share that differ in their seed alone."""
    defined = ceilings.dropna(subset=["ceiling_low", "others_mean"])
    if not len(defined):
        return []
    values = [
        f"{write_number(part['ceiling_low'].mean(), digits=2)} on {name} (other networks "
        f"{write_number(part['others_mean'].mean(), digits=2)})"
        for name, part in defined.groupby("stimulus_set", sort=True)
    ]
    return [
        f"The lower noise ceiling, the mean similarity of networks that differ only in their seed, is "
        f"{list_in_words(values)}."
    ]


def sizes_in_words(rows: pd.DataFrame) -> list[str]:
    """Say how much the similarities change from the last but one number of stimuli to all."""
    values = []
    for name, part in rows.dropna(subset=["mean_change"]).groupby("stimulus_set", sort=True):
        ordered = part.sort_values("n_stimuli")
        if len(ordered) > 1:
            before, last = ordered.iloc[-2], ordered.iloc[-1]
            values.append(
                f"{write_number(before['mean_change'])} from {write_number(before['n_stimuli'], 'count')} to "
                f"{write_number(last['n_stimuli'], 'count')} stimuli of {name}"
            )
    return (
        [f"With more stimuli, similarities still change by a mean of {list_in_words(values)}."]
        if values
        else []
    )


def _orders(sizes: pd.DataFrame) -> str:
    if not len(sizes):
        return "none"
    n_orders = int(sizes["n_orders"].max())
    return f"mean over {counted(n_orders, 'random order')} of the stimuli and all network pairs"


def _tables(
    content: ReportContent, pairs: pd.DataFrame, ceilings: pd.DataFrame, sizes: pd.DataFrame
) -> Sequence[Table]:
    tables = []
    if len(pairs):
        ordered = pairs.sort_values("calibrated", ascending=False, kind="stable")
        tables.append(
            make_table(
                ordered, PAIR_COLUMNS, f"Pairs compared with chance, sorted by estimate ({content.measure})",
                most_rows=2 * content.n_extreme_pairs, is_folded=True,
                of=["similarity_inference"], note=BIASED if pairs["is_biased"].any() else None,
            )
        )  # fmt: skip
    if len(ceilings):
        names = ceilings[["objective", "architecture"]].astype(str).to_numpy().tolist()
        kinds = [", ".join(map(written, parts)) for parts in names]
        tables.append(
            make_table(
                ceilings.assign(kind=kinds), CEILING_COLUMNS, f"Noise ceilings ({content.measure})",
                of=["noise_ceilings"],
                most_rows=content.n_run_rows, is_folded=True,
            )
        )  # fmt: skip
    if len(sizes):
        tables.append(
            make_table(
                sizes, SIZE_COLUMNS, "Similarity by number of stimuli, all measures that were followed",
                of=["sample_sizes"],
                most_rows=content.n_run_rows, is_folded=True,
            )
        )  # fmt: skip
    return tables
