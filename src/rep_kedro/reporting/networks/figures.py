"""How did training go? One small panel per objective and metric."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from rep_kedro.datasets.marks import describe_points
from rep_kedro.reporting.names import drawn, shortened
from rep_kedro.reporting.style import (
    MUTED,
    Palette,
    add_legend,
    grid_of_panels,
    plot_note,
    start_figure,
    styled,
    write_percents,
)
from rep_kedro.reporting.tables import objectives_in_order, palette_of
from rep_kedro.reporting.texts import figure_texts

TITLE = figure_texts("training")["title"]
N_COLUMNS = 4
MOST_PANELS = 16
LINE_STYLES: tuple[Any, ...] = ("-", "--", ":", "-.")


def plot_training(
    training_history: pd.DataFrame, model_cards: pd.DataFrame, *, metrics: Sequence[str] = ()
) -> Figure:
    """Draw every metric of every objective over the epochs, each panel with its own scale.

    Returns:
        One line per network; the line style shows the architecture. Networks with a single epoch on record,
        such as untrained ones, have no curve and are left out.
    """
    rows = curves_of(training_history)
    rows = rows[rows["metric"].isin(metrics)] if metrics else rows
    if not len(rows):
        wanted = f" of the metrics {', '.join(metrics)}" if metrics else ""
        return plot_note(TITLE, f"no network has a training history{wanted}")
    return _plot(rows, palette_of(model_cards), panels_of(rows, metrics)[:MOST_PANELS])


def curves_of(training_history: pd.DataFrame) -> pd.DataFrame:
    """Return the defined values of every network and metric that has more than one epoch."""
    rows = training_history.dropna(subset=["value"])
    n_epochs = rows.groupby(["model", "metric"])["epoch"].transform("nunique")
    return rows[n_epochs > 1]


def panels_of(rows: pd.DataFrame, metrics: Sequence[str]) -> list[tuple[str, str]]:
    """Return (objective, metric) of every panel: objectives in their order, the wanted metrics in theirs."""
    order = metrics or tuple(sorted(set(rows["metric"]), key=lambda metric: (metric != "loss", metric)))
    held = set(zip(rows["objective"].astype(str), rows["metric"], strict=True))
    return [
        (objective, metric)
        for objective in objectives_in_order(rows["objective"].astype(str))
        for metric in order
        if (objective, metric) in held
    ]


@styled
def _plot(rows: pd.DataFrame, palette: Palette, panels: list[tuple[str, str]]) -> Figure:
    architectures = sorted(set(rows["architecture"].astype(str)))
    styles = {name: LINE_STYLES[index % len(LINE_STYLES)] for index, name in enumerate(architectures)}
    n_rows = -(-len(panels) // N_COLUMNS)
    n_columns = -(-len(panels) // n_rows)
    figure = start_figure(TITLE, 0.9 + 2.2 * n_rows)
    for panel, (objective, metric) in zip(
        grid_of_panels(figure, len(panels), n_columns), panels, strict=True
    ):
        shown = rows[(rows["objective"] == objective) & (rows["metric"] == metric)]
        for _, history in shown.sort_values("epoch", kind="stable").groupby("model", sort=True):
            style = styles[str(history["architecture"].iloc[0])]
            panel.plot(
                history["epoch"],
                history["value"],
                linestyle=style,
                color=palette.colour(objective),
                linewidth=1.3,
            )
        columns = {"network": shown["model"].astype(str), "epoch": shown["epoch"], metric: shown["value"]}
        describe_points(panel, shown["epoch"], shown["value"], columns)
        _finish_panel(panel, objective, metric)
    handles = [
        Line2D([], [], color=MUTED, linestyle=styles[name], label=drawn(name)) for name in architectures
    ]
    add_legend(figure, handles, 6)
    return figure


def _finish_panel(axes: Axes, objective: str, metric: str) -> None:
    readable = shortened(metric.replace("_", " ").replace("rankme", "RankMe"), 24)
    axes.set_title(f"{drawn(objective)}: {readable}")
    axes.set_xlabel("epoch", fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if metric.endswith("accuracy"):
        write_percents(axes.yaxis)
        axes.set_ylabel(f"{readable} (%)", fontsize=8)
    else:
        axes.set_ylabel(f"{readable} (no unit)", fontsize=8)
