"""Did a training collapse? What its monitor measured in each epoch, and where it raised an alarm."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from rep_kedro.datasets.marks import describe_points
from rep_kedro.reporting.style import (
    INK,
    add_legend,
    grid_of_panels,
    plot_note,
    start_figure,
    styled,
    write_percents,
)
from rep_kedro.reporting.tables import objectives_in_order, palette_of
from rep_kedro.reporting.texts import figure_texts

TITLE = figure_texts("collapse")["title"]
ALARM = "collapse_alarm"
SIGNS = {
    "queue_representation_rankme": "representation: RankMe",
    "queue_representation_std": "representation: std",
    "queue_representation_dead": "representation: dead (%)",
    "contrastive_top1": "partner nearest (%)",
    "queue_embedding_rankme": "embedding: RankMe",
    "queue_embedding_std": "embedding: std",
    "queue_embedding_dead": "embedding: dead (%)",
    "queue_lidar": "embedding: LiDAR",
}
"""What the monitor measures, in the order of panels: title of each."""
MEASURED = {*SIGNS, "contrastive_top5", ALARM}
N_COLUMNS = 4


def watched(training_history: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the networks whose training was watched for a collapse."""
    names = training_history.loc[training_history["metric"] == ALARM, "model"]
    return training_history[training_history["model"].isin(set(names))]


def first_alarms(training_history: pd.DataFrame) -> dict[str, int]:
    """Return the epoch of the first alarm of each network that had one."""
    rows = training_history[(training_history["metric"] == ALARM) & (training_history["value"] > 0)]
    return {str(name): int(epoch) for name, epoch in rows.groupby("model", sort=True)["epoch"].min().items()}


def plot_collapse(training_history: pd.DataFrame, model_cards: pd.DataFrame) -> Figure:
    """Draw the signs of a collapse over the epochs, with a cross at each alarm.

    Returns:
        A panel per sign, a line per watched network.
    """
    rows = watched(training_history)
    if not len(rows):
        return plot_note(TITLE, "no training was watched for a collapse (monitors: {collapse: {}})")
    return _plot(rows, model_cards)


@styled
def _plot(rows: pd.DataFrame, model_cards: pd.DataFrame) -> Figure:
    palette = palette_of(model_cards)
    signs = [sign for sign in SIGNS if rows.loc[rows["metric"] == sign, "value"].notna().any()]
    alarms = rows[(rows["metric"] == ALARM) & (rows["value"] > 0)][["model", "epoch"]]
    n_rows = -(-len(signs) // N_COLUMNS)
    figure = start_figure(TITLE, 0.9 + 2.1 * n_rows)
    for panel, sign in zip(
        grid_of_panels(figure, len(signs), min(N_COLUMNS, len(signs))), signs, strict=True
    ):
        shown = rows[rows["metric"] == sign].dropna(subset=["value"]).sort_values("epoch", kind="stable")
        for _, history in shown.groupby("model", sort=True):
            colour = palette.colour(str(history["objective"].iloc[0]))
            panel.plot(
                history["epoch"], history["value"], color=colour, linewidth=1.2, marker=".", markersize=4
            )
        marked = shown.merge(alarms, on=["model", "epoch"])
        panel.plot(marked["epoch"], marked["value"], linestyle="none", marker="x", color=INK, markersize=6)
        columns = {
            "network": shown["model"].astype(str),
            "epoch": shown["epoch"],
            SIGNS[sign]: shown["value"],
        }
        describe_points(panel, shown["epoch"], shown["value"], columns)
        panel.set_title(SIGNS[sign], fontsize=9)
        panel.set_xlabel("epoch", fontsize=8)
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        if SIGNS[sign].endswith("(%)"):
            panel.set_ylim(0, max(0.05, 1.05 * float(shown["value"].max())))
            write_percents(panel.yaxis)
    handles = palette.legend_handles(objectives_in_order(rows["objective"].astype(str)))
    words = f"alarm ({alarms['model'].nunique()} of {rows['model'].nunique()} networks)"
    handles.append(Line2D([], [], linestyle="none", marker="x", color=INK, label=words))
    add_legend(figure, handles, 6)
    return figure
