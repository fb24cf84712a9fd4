"""How many directions of its layers does each network need? Accuracy against what is kept."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rep_kedro.datasets.marks import describe_points
from rep_kedro.reporting.names import drawn, shortened
from rep_kedro.reporting.style import (
    MUTED,
    add_legend,
    evenly,
    plot_note,
    start_panels,
    styled,
    title_of_part,
    write_percents,
)
from rep_kedro.reporting.tables import chosen_stimulus_set
from rep_kedro.reporting.texts import figure_texts

TITLE = figure_texts("projections")["title"]
ALL_LAYERS = "*"
N_COLUMNS, MOST_NETWORKS = 3, 12
COLOURS: Mapping[str, str] = {"leading": "#0072b2", "random": "#d55e00"}


def plot_projections(projection_results: pd.DataFrame, *, stimulus_set: str | None) -> Figure:
    """Draw the relative accuracy of projected networks against the share of directions that is kept.

    Args:
        projection_results: The contract's table.
        stimulus_set: The images to show; None, or images without projections: the first that have some.

    Returns:
        A panel per network, of more than twelve some at equal distances. Filled marks with a line: all layers
        at once; small ones: single layers; whiskers: intervals over test images.
    """
    rows = projection_results.dropna(subset=["relative_accuracy"])
    if not len(rows):
        return plot_note(TITLE, "no layer was projected (diagnostics.projections)")
    rows = rows[rows["stimulus_set"] == chosen_stimulus_set(stimulus_set, rows)]
    return _plot(rows.assign(kept=rows["dimension"].astype(float) / rows["n_channels"]))


@styled
def _plot(rows: pd.DataFrame) -> Figure:
    names = sorted(set(rows["model"].astype(str)))
    shown = evenly(names, MOST_NETWORKS)
    title = title_of_part(TITLE, len(shown), len(names), "networks")
    n_columns = min(N_COLUMNS, len(shown))
    figure, panels = start_panels(title, len(shown), n_columns, row_in=2.5, around_in=1.0, sharey=True)
    for index, (panel, name) in enumerate(zip(panels, shown, strict=True)):
        own = rows[rows["model"].astype(str) == name]
        panel.axhline(1, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
        for kind, part in own.groupby(own["directions"].astype(str), sort=True):
            _draw(panel, part, COLOURS[str(kind)])
        _describe(panel, own, name)
        panel.set_title(shortened(drawn(name), 34))
        panel.set_xlim(-0.03, 1.03)
        write_percents(panel.xaxis)
        if index % n_columns == 0:
            panel.set_ylabel("relative accuracy (%)")
            panel.set_xlabel("directions that are kept (%)", loc="left", fontsize=8)
    panels[0].set_ylim(min(0.0, float(rows["relative_low"].min())) - 0.03, None)
    write_percents(panels[0].yaxis)
    _add_legend(figure, rows)
    return figure


def _draw(axes: Axes, rows: pd.DataFrame, colour: str) -> None:
    is_all = rows["layer"] == ALL_LAYERS
    single, together = rows[~is_all], rows[is_all].sort_values("kept", kind="stable")
    for part, width, alpha in ((single, 0.6, 0.35), (together, 1.4, 1.0)):
        ends = part["relative_low"], part["relative_high"]
        axes.vlines(part["kept"], ends[0], ends[1], color=colour, linewidth=width, alpha=alpha)
    axes.plot(
        single["kept"], single["relative_accuracy"], color=colour, marker="o", markersize=2.5, alpha=0.45,
        linestyle="none",
    )  # fmt: skip
    axes.plot(
        together["kept"], together["relative_accuracy"], color=colour, marker="D", markersize=5, linewidth=1.4
    )


def _describe(axes: Axes, rows: pd.DataFrame, name: str) -> None:
    texts = {name: rows[name].astype(str) for name in ("layer", "directions", "rule")}
    numbers = {name: rows[name] for name in ("delta", "dimension", "n_channels")}
    relative = {
        "relative accuracy": rows["relative_accuracy"],
        "from": rows["relative_low"],
        "to": rows["relative_high"],
    }
    describe_points(
        axes, rows["kept"], rows["relative_accuracy"], {**texts, **numbers, **relative}, network=name
    )


def _add_legend(figure: Figure, rows: pd.DataFrame) -> None:
    kinds = sorted(set(rows["directions"].astype(str)))
    handles = [
        Line2D(
            [], [], color=COLOURS[kind], marker="D", markersize=5, linewidth=1.4, label=f"{kind} directions"
        )
        for kind in kinds
    ]
    if (rows["layer"] != ALL_LAYERS).any():
        handles.append(
            Line2D([], [], color=MUTED, marker="o", markersize=2.5, linestyle="none", label="a single layer")
        )
    handles.append(
        Line2D([], [], color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)), label="without projection")
    )
    add_legend(figure, handles, 4)
