"""Which measures without labels order networks as their accuracy does? Every criterion, with its interval."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rep_kedro.datasets.marks import describe_points
from rep_kedro.reporting.names import shortened, written
from rep_kedro.reporting.panels import panels_of_sets
from rep_kedro.reporting.style import (
    MUTED,
    SCREEN_IN,
    Palette,
    add_legend,
    grid_of_panels,
    palette_for,
    plot_note,
    start_figure,
    styled,
)
from rep_kedro.reporting.tables import in_order, objectives_in_order
from rep_kedro.reporting.texts import figure_texts

TITLE = figure_texts("criteria_correlations")["title"]
FIRST = "rankme"  # the criterion that the report is about comes first
ALL = "all"  # methods together: a criterion cannot be compared between them
FEWEST_RUNS = 10  # with fewer, percentile intervals over runs are too narrow
MOST_PANELS, MOST_ROWS, MOST_METHODS = 3, 22, 6
_AROUND_IN, _ROW_IN, _LABEL_CHARS = 1.5, 0.27, 34
_PAPER = "#ffffff"


def own_criteria(selection_criteria: pd.DataFrame) -> pd.DataFrame:
    """Return criteria measured where performance was, and those of tables made elsewhere; RankMe first.

    Column `label` names criterion and space, `place` the performance and its source.
    """
    is_study = selection_criteria["source"] == "study"
    rows = selection_criteria[
        ~is_study | (selection_criteria["criterion_set"] == selection_criteria["performance"])
    ]
    spaces = rows["space"].fillna("").replace("representation", "")
    labels = rows["criterion"] + (" (" + spaces + ")").where(spaces != "", "")
    places = rows["performance"].where(rows["source"] == "study", rows["source"] + ": " + rows["performance"])
    order = np.lexsort((spaces, rows["criterion"], rows["criterion"] != FIRST))
    return rows.assign(label=labels, place=places).iloc[order]


def plot_criteria_correlations(selection_criteria: pd.DataFrame) -> Figure:
    """Draw Spearman's correlation of each criterion with accuracy over networks of one method.

    Returns:
        One panel per performance, a row per criterion, a mark per method; lines are intervals, hollow marks
        have fewer than :data:`FEWEST_RUNS` networks.
    """
    rows = own_criteria(selection_criteria)
    rows = rows[rows["group"] != ALL].dropna(subset=["spearman"])
    if not len(rows):
        return plot_note(TITLE, "no method has three networks with a label-free measure and a probe")
    return _plot(rows)


@styled
def _plot(rows: pd.DataFrame) -> Figure:
    places, title = panels_of_sets(in_order(rows["place"]), TITLE, MOST_PANELS)
    labels, methods = in_order(rows["label"]), objectives_in_order(rows["group"].astype(str))
    notes = []
    if len(labels) > MOST_ROWS:
        notes.append(f"{MOST_ROWS} of {len(labels)} criteria")
    if len(methods) > MOST_METHODS:
        notes.append(f"{MOST_METHODS} of {len(methods)} methods")
    labels, methods = labels[:MOST_ROWS], methods[:MOST_METHODS]
    title = f"{title} ({', '.join(notes)})" if notes else title
    room = _ROW_IN * (0.5 + 0.5 * min(len(methods), 4))
    figure = start_figure(title, min(_AROUND_IN + room * len(labels), SCREEN_IN))
    palette = palette_for(rows["group"].astype(str))
    panels = grid_of_panels(figure, len(places), len(places), sharey=True)
    for panel, place in zip(panels, places, strict=True):
        _draw_panel(panel, rows[rows["place"] == place], labels, methods, palette)
        panel.set_title(shortened(place, 28))
    panels[0].set_yticks(range(len(labels)), [shortened(label, _LABEL_CHARS) for label in labels])
    panels[0].set_ylim(len(labels) - 0.5, -0.5)
    add_legend(figure, _legend(rows, methods, palette), 6)
    return figure


def _draw_panel(
    panel: Axes, rows: pd.DataFrame, labels: list[str], methods: list[str], palette: Palette
) -> None:
    rows = rows[rows["label"].isin(labels) & rows["group"].isin(methods)]
    step = 0.7 / len(methods)
    heights = np.array(
        [
            labels.index(label) + step * (methods.index(method) - (len(methods) - 1) / 2)
            for label, method in zip(rows["label"], rows["group"].astype(str), strict=True)
        ]
    )
    panel.axvline(0, color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)), zorder=0)
    for method in methods:
        own = (rows["group"].astype(str) == method).to_numpy()
        colour, part = palette.colour(method), rows[own]
        is_few = (part["n_runs"] < FEWEST_RUNS).to_numpy()
        for chosen, face, strength in ((~is_few, colour, 0.9), (is_few, _PAPER, 0.35)):
            low, high = part["spearman_low"][chosen], part["spearman_high"][chosen]
            panel.hlines(heights[own][chosen], low, high, color=colour, linewidth=1.1, alpha=strength)
            panel.plot(
                part["spearman"][chosen], heights[own][chosen], linestyle="none", markersize=4.5,
                marker=palette.marker(method), markerfacecolor=face, markeredgecolor=colour,
            )  # fmt: skip
    columns = {
        **{
            "criterion": rows["label"],
            "method": rows["group"].astype(str).map(written),
            "networks": rows["n_runs"],
        },
        **{"Spearman ρ": rows["spearman"], "from": rows["spearman_low"], "to": rows["spearman_high"]},
    }
    describe_points(
        panel, rows["spearman"].astype(float), heights, columns, performance=str(rows["place"].iloc[0])
    )
    panel.set_xlim(-1.05, 1.05)
    panel.set_xticks([-1, -0.5, 0, 0.5, 1])
    panel.set_xlabel("Spearman ρ with accuracy")


def _legend(rows: pd.DataFrame, methods: list[str], palette: Palette) -> list[Line2D]:
    handles = palette.legend_handles(methods)
    if (rows["n_runs"] < FEWEST_RUNS).any():
        words = f"hollow: fewer than {FEWEST_RUNS} networks"
        few = Line2D([], [], linestyle="none", marker="o", color=MUTED, label=words)
        few.set_markerfacecolor(_PAPER)
        handles.append(few)
    return handles
