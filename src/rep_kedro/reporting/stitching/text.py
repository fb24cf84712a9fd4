"""Can one network go on from another network's layer?"""

from collections.abc import Collection, Mapping

import pandas as pd

from rep_kedro.reporting.content import ReportContent
from rep_kedro.reporting.page import Column, Section, counted, list_in_words, make_table, write_number
from rep_kedro.reporting.stitching.rows import BASELINE, one_map
from rep_kedro.reporting.tables import chosen_stimulus_set, trait_of

STITCH_COLUMNS = {
    "front_model": Column("network that begins"),
    "end_model": Column("network that goes on"),
    "map": Column("map"),
    "front_layer": Column("leaves after"),
    "end_layer": Column("goes on after"),
    "control": Column("control"),
    "seed": Column("seed"),
    "front_accuracy": Column("first alone", "percent", 1),
    "end_accuracy": Column("second alone", "percent", 1),
    "stitched_accuracy": Column("stitched", "percent", 1),
    "relative_accuracy": Column("relative", "number", 3),
    "low": Column("from", "number", 3),
    "high": Column("to", "number", 3),
    "mean_average_precision": Column("mean average precision", "number", 3),
    "relative_mean_average_precision": Column("relative to second", "number", 3),
    "agreement": Column("agreement with second", "percent", 1),
    "cross_entropy": Column("cross-entropy", "number", 3),
    "cka": Column("CKA at the joint", "number", 3),
    "map_r2": Column("fit of the map (R²)", "number", 2),
    "n_test": Column("test images", "count"),
}


SEVERAL_COLUMNS = ("mean_average_precision", "relative_mean_average_precision")
"""Columns of networks that predict several labels of an image."""


def describe(content: ReportContent) -> list[Section]:
    """Say how well networks go on from other networks' layers."""
    everything = content.table("stitching_results")
    stimulus_set = chosen_stimulus_set(content.stimulus_set, everything)
    rows = everything[everything["stimulus_set"] == stimulus_set]
    rows = rows.sort_values("relative_accuracy", ascending=False, kind="stable")
    n_undefined = int(rows["relative_accuracy"].isna().sum())
    notes = [f"{n_undefined} of {len(rows)} relative accuracies are undefined."] if n_undefined else []
    shown = (
        f"stimulus set {stimulus_set}; {counted(len(rows), 'stitched network')}" if len(rows) else "nothing"
    )
    several = rows["mean_average_precision"].notna()
    notes += [several_in_words(rows[several])] if several.any() else []
    table = make_table(
        rows,
        STITCH_COLUMNS if several.any() else _without(STITCH_COLUMNS, SEVERAL_COLUMNS),
        "All stitched networks",
        most_rows=content.n_run_rows,
        is_folded=True,
        of=["stitching_results"],
    )
    return [
        Section(
            anchor="stitching",
            answers=[
                *stitching_in_words(one_map(rows), trait_of(content.table("model_cards"), "objective")),
                *maps_in_words(content.table("stitching_summary"), stimulus_set),
            ],
            notes=notes,
            left_out=[] if len(rows) else ["This run stitched no networks (stitching.joints)."],
            figures=[
                content.block(name, shown, is_folded=name in content.absences)
                for name in ("stitching", "stitching_maps", "stitching_cka", "stitching_grid")
            ],
            tables=[table] if len(rows) else [],
        )
    ]


def _without(columns: Mapping[str, Column], names: Collection[str]) -> dict[str, Column]:
    return {name: column for name, column in columns.items() if name not in names}


def several_in_words(rows: pd.DataFrame) -> str:
    """Say how networks that predict several labels of an image do."""
    median = write_number(rows["relative_mean_average_precision"].median(), digits=2)
    verb = "predicts" if len(rows) == 1 else "predict"
    return (
        f"{counted(len(rows), 'stitched network')} {verb} several labels of an image: accuracies count an"
        " image as right if it has the label with the largest output. The median of the mean average"
        f" precision, relative to the second network alone, is {median}."
    )


def stitching_in_words(rows: pd.DataFrame, objective: dict[str, str]) -> list[str]:
    """Give medians of stitching within one objective and across objectives.

    Untrained networks that go on are listed by themselves: they classify near chance, and almost any map is
    as good.
    """
    rows = rows.rename(columns={"relative_accuracy": "value"}).dropna(subset=["value"])
    front, end = rows["front_model"].map(objective), rows["end_model"].map(objective)
    is_trained = end != "untrained"
    kinds = (
        (rows[is_trained & (front == end)], "if the second network is trained and has the same objective"),
        (rows[is_trained & (front != end)], "if it is trained and has another objective"),
        (rows[~is_trained], "if it is untrained, where the network itself is near chance"),
    )
    values = [
        f"{write_number(part['value'].median(), digits=2)} {words} (n\u00a0=\u00a0{len(part)})"
        for part, words in kinds
        if len(part)
    ]
    if not values:
        return []
    return [
        "The median accuracy of stitched networks, relative to the second network alone, is "
        f"{list_in_words(values)}."
    ]


def maps_in_words(summary: pd.DataFrame, stimulus_set: str | None) -> list[str]:
    """Say of each map how its relative accuracy differs from that of the least-squares map.

    Mean over pairs of layers of the mean difference; no order of maps is claimed.
    """
    rows = summary[
        (summary["stimulus_set"] == stimulus_set)
        & (summary["measure"] == "relative_accuracy")
        & (summary["control"] == "none")
        & (summary["n_differences"] > 0)
    ]
    if not len(rows):
        return []
    found = rows.groupby("map", sort=True)["difference"].mean()
    values = [f"{write_number(value, digits=3)} ({name})" for name, value in found.items()]
    return [
        f"Relative accuracy less that of {BASELINE}, mean over layers of the same networks, is"
        f" {list_in_words(values)}."
    ]
