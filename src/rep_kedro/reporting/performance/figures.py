"""Does performance follow the representation? Similarity against accuracy gaps, RankMe against accuracy."""

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure

from rep_kedro.datasets.marks import describe_points
from rep_kedro.reporting.names import shortened
from rep_kedro.reporting.page import written_r
from rep_kedro.reporting.pairs import names_of
from rep_kedro.reporting.panels import MOST_PANELS, columns_of, panels_and_title, panels_of_sets
from rep_kedro.reporting.similarity.figures import architecture_handles, filled_architecture
from rep_kedro.reporting.style import (
    CROWDED_DPI,
    MANY_POINTS,
    RASTER_DPI,
    UNKNOWN,
    add_legend,
    grid_of_panels,
    percent_formatter,
    percent_locator,
    plot_note,
    row_height,
    start_figure,
    start_panels,
    styled,
    write_percents,
)
from rep_kedro.reporting.tables import (
    in_order,
    network_columns,
    objectives_in_order,
    palette_of,
    pearson,
    performance_gaps,
    rank_and_accuracy,
    with_traits,
)
from rep_kedro.reporting.texts import figure_texts

GAP_TITLE = figure_texts("performance_gap")["title"]
RANK_TITLE = figure_texts("rankme")["title"]
ROOM = 0.05  # around the points, in shares of the largest accuracy difference


def plot_performance_gap(similarities: pd.DataFrame, probe_results: pd.DataFrame, *, measure: str) -> Figure:
    """Draw the accuracy difference of two networks against their similarity, one panel per stimulus set.

    Returns:
        One point per pair of networks, coloured by the larger accuracy; Pearson's r and n in the titles.
    """
    gaps = performance_gaps(similarities, probe_results, measure)
    if not len(gaps):
        return plot_note(GAP_TITLE, f"no pair has both a similarity ({measure}) and two probe accuracies")
    return _plot_gaps(gaps, measure)


def sets_by_r(gaps: pd.DataFrame) -> list[str]:
    """Return the stimulus sets in their order; where not all get a panel, from the most falling cloud on."""
    names = in_order(gaps["stimulus_set"])
    if len(names) <= MOST_PANELS:
        return names
    r = {str(name): pearson(part["similarity"], part["gap"]) for name, part in gaps.groupby("stimulus_set")}
    return sorted(names, key=lambda name: (np.isnan(r[name]), r[name]))


@styled
def _plot_gaps(gaps: pd.DataFrame, measure: str) -> Figure:
    names, title = panels_of_sets(sets_by_r(gaps), GAP_TITLE, MOST_PANELS)
    n_columns = columns_of(len(names))
    dpi = CROWDED_DPI if len(gaps) > MANY_POINTS else RASTER_DPI
    n_rows = -(-len(names) // n_columns)
    figure = start_figure(title, 0.8 + row_height(n_rows, 3.25, 0.8) * n_rows, dpi)
    axes = grid_of_panels(figure, len(names), n_columns, sharex=True, sharey=True)
    low, high = float(gaps["larger_accuracy"].min()), float(gaps["larger_accuracy"].max())
    for index, (panel, name) in enumerate(zip(axes, names, strict=True)):
        rows = gaps[gaps["stimulus_set"] == name]
        points = panel.scatter(
            rows["similarity"], rows["gap"], c=rows["larger_accuracy"], cmap=colormaps["cividis"],
            s=22 if len(rows) < MANY_POINTS // 4 else 8,
            vmin=low, vmax=high, alpha=0.85, linewidths=0, rasterized=len(gaps) > MANY_POINTS,
        )  # fmt: skip
        columns = {
            **names_of(rows),
            "similarity": rows["similarity"],
            "accuracy difference": rows["gap"],
            "larger accuracy": rows["larger_accuracy"],
        }
        describe_points(panel, rows["similarity"], rows["gap"], columns, stimulus_set=name)
        panel.set_title(_title_of(name, rows, "similarity", "gap"))
        if index % n_columns == 0:
            panel.set_ylabel("|accuracy difference|\n(percentage points)")
    largest = float(gaps.loc[gaps["stimulus_set"].isin(names), "gap"].max()) or 1.0
    axes[0].set_ylim(-ROOM * largest, (1 + ROOM) * largest)  # shared by all panels; marks at 0 are whole
    write_percents(axes[0].yaxis)
    figure.supxlabel(f"similarity of the two networks ({shortened(measure, 40)}), no unit", fontsize=9)
    bar = figure.colorbar(
        points, ax=axes, shrink=0.85, aspect=28, label="larger accuracy of the two (%)",
        ticks=percent_locator(), format=percent_formatter(),
    )  # fmt: skip
    bar.solids.set(rasterized=True, alpha=1)  # type: ignore[union-attr]
    bar.outline.set_visible(False)
    return figure


def _title_of(name: str, rows: pd.DataFrame, x: str, y: str) -> str:
    """Return stimulus set, correlation and number of points, in two lines: panels are narrow."""
    return f"{shortened(name, 28)}\n{written_r(pearson(rows[x], rows[y]))}, n\u00a0=\u00a0{len(rows)}"


def plot_rankme(
    layer_diagnostics: pd.DataFrame, probe_results: pd.DataFrame, model_cards: pd.DataFrame, *, delta: float
) -> Figure:
    """Draw probe accuracy against RankMe of the final layer, one panel per stimulus set.

    Args:
        layer_diagnostics: The contract's table.
        probe_results: The contract's table.
        model_cards: Gives objective (colour and marker) and architecture (filled or hollow).
        delta: Picks one row per layer where there are several thresholds; RankMe does not depend on it.

    Returns:
        One point per network, RankMe on a shared axis without unit, accuracy in percent.
    """
    joined = with_traits(rank_and_accuracy(layer_diagnostics, probe_results, delta), model_cards)
    if not len(joined):
        return plot_note(RANK_TITLE, "no final layer has both a RankMe and a probe accuracy")
    return _plot_ranks(joined, model_cards)


@styled
def _plot_ranks(joined: pd.DataFrame, model_cards: pd.DataFrame) -> Figure:
    palette, filled = palette_of(model_cards), filled_architecture(model_cards)
    names, title = panels_and_title(joined, RANK_TITLE)
    n_columns = columns_of(len(names))
    figure, axes = start_panels(title, len(names), n_columns, row_in=3.15, around_in=1.0, sharey=True)
    for index, (panel, name) in enumerate(zip(axes, names, strict=True)):
        rows = joined[joined["stimulus_set"] == name]
        for (objective, architecture), part in rows.groupby(["objective", "architecture"], sort=True):
            colour = palette.colour(str(objective))
            panel.plot(
                part["rankme"], part["test_accuracy"], linestyle="none", markersize=7,
                marker=palette.marker(str(objective)), markeredgecolor=colour, markeredgewidth=1.4, alpha=0.9,
                markerfacecolor=colour if architecture == filled else "#ffffff",
            )  # fmt: skip
        columns = {
            **network_columns(rows["model"], model_cards),
            "RankMe": rows["rankme"],
            "test accuracy": rows["test_accuracy"],
        }
        describe_points(panel, rows["rankme"], rows["test_accuracy"], columns, stimulus_set=name)
        panel.set_title(_title_of(name, rows, "rankme", "test_accuracy"))
        if index % n_columns == 0:
            panel.set_ylabel("probe accuracy on test images (%)")
        panel.margins(0.08)
    write_percents(axes[0].yaxis)
    for panel in axes:
        panel.set_xlabel("RankMe (effective dimensions)")
    objectives = objectives_in_order(name for name in joined["objective"] if name != UNKNOWN)
    handles = palette.legend_handles(objectives) + architecture_handles(model_cards, joined["model"])
    if handles:
        add_legend(figure, handles, 8)
    return figure
