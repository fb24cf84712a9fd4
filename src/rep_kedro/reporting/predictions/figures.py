"""Do networks with similar representations make similar errors?"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from rep_kedro.datasets.marks import describe_points
from rep_kedro.reporting.names import shortened
from rep_kedro.reporting.page import written_r
from rep_kedro.reporting.pairs import kinds_of, names_of, of_kind, with_kinds
from rep_kedro.reporting.panels import panels_of_sets
from rep_kedro.reporting.similarity.spread import add_kind_legend, draw_kind
from rep_kedro.reporting.style import (
    CROWDED_DPI,
    MANY_POINTS,
    RASTER_DPI,
    Palette,
    plot_note,
    start_figure,
    styled,
)
from rep_kedro.reporting.tables import in_order, palette_of, pearson
from rep_kedro.reporting.texts import figure_texts

TITLE = figure_texts("prediction_agreement")["title"]
MOST_PANELS = 4
SAID = {"error_consistency": "error consistency", "disagreement": "disagreement"}
ROWS = {
    "error_consistency": "error consistency (Cohen's κ,\n1: identical, 0: chance)",
    "within_range": "disagreement, from the least (0)\nto the most (1) that accuracies allow",
}


def plot_prediction_agreement(
    prediction_agreement: pd.DataFrame, similarities: pd.DataFrame, model_cards: pd.DataFrame, *, measure: str
) -> Figure:
    """Draw error consistency and disagreement of the final probes' test predictions against similarity.

    Returns:
        One column per stimulus set, one point per pair of networks.
    """
    joined = agreement_and_similarity(prediction_agreement, similarities)
    if not len(joined):
        return plot_note(TITLE, f"no pair has both a similarity ({measure}) and two lists of predictions")
    joined = with_kinds(joined, "objective").assign(within_range=within_range(joined))
    return _plot(joined, palette_of(model_cards), measure)


def agreement_and_similarity(prediction_agreement: pd.DataFrame, similarities: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of ``prediction_agreement`` with the similarity of the two networks, where defined."""
    columns = ["stimulus_set", "first", "second"]
    sides = [
        table.assign(
            first=np.minimum(table["model_a"].astype(str), table["model_b"].astype(str)),
            second=np.maximum(table["model_a"].astype(str), table["model_b"].astype(str)),
        )
        for table in (prediction_agreement, similarities)
    ]
    values = sides[1][[*columns, "similarity"]].astype({"similarity": "float64"})
    joined = sides[0].merge(values, on=columns, how="inner")
    return joined.dropna(subset=["similarity", "disagreement"]).drop(columns=["first", "second"])


def within_range(rows: pd.DataFrame) -> pd.Series:
    """Return the disagreement's position between the least (0) and the most (1) that the accuracies allow.

    NaN where the accuracies leave no choice.
    """
    low, high = (rows[f"disagreement_{end}_bound"].astype("float64") for end in ("low", "high"))
    room = (high - low).where(high > low)
    return (rows["disagreement"].astype("float64") - low) / room


@styled
def _plot(joined: pd.DataFrame, palette: Palette, measure: str) -> Figure:
    names, title = panels_of_sets(in_order(joined["stimulus_set"]), TITLE, MOST_PANELS)
    is_crowded = len(joined) > MANY_POINTS
    figure = start_figure(title, 6.4, CROWDED_DPI if is_crowded else RASTER_DPI)
    grid = figure.subplots(len(ROWS), max(len(names), 2), squeeze=False, sharex="col", sharey="row")
    for spare in grid[:, len(names) :].ravel():
        spare.set_axis_off()
    kinds = sorted(set(kinds_of(joined[joined["stimulus_set"].isin(names)])))
    for column, name in zip(grid.T, names, strict=False):
        rows = joined[joined["stimulus_set"] == name]
        for panel, value in zip(column, ROWS, strict=True):
            defined = rows.dropna(subset=[value])
            for kind in kinds:
                part = of_kind(defined, kind)
                draw_kind(
                    panel, part["similarity"], part[value], kind, palette, len(rows), rasterized=is_crowded
                )
            columns = {
                **names_of(defined), "similarity": defined["similarity"],
                **{words: defined[column] for column, words in SAID.items()},
            }  # fmt: skip
            describe_points(panel, defined["similarity"], defined[value], columns, stimulus_set=name)
            r = written_r(pearson(defined["similarity"], defined[value]))
            panel.set_title(f"{shortened(name, 22)}: {r}" if value == "error_consistency" else r)
        column[-1].set_xlabel(f"similarity ({shortened(measure, 24)})")
    for panel, label in zip(grid[:, 0], ROWS.values(), strict=True):
        panel.set_ylabel(label)
    add_kind_legend(figure, kinds, palette)
    return figure
