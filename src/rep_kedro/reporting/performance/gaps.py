"""On which stimulus sets do similar networks perform similarly? One correlation per stimulus set."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rep_kedro.datasets.marks import describe_points
from rep_kedro.reporting.names import shortened
from rep_kedro.reporting.style import INK, MUTED, add_legend, plot_note, start_figure, styled
from rep_kedro.reporting.tables import groups_of_sets
from rep_kedro.reporting.texts import figure_texts

TITLE = figure_texts("gap_correlations")["title"]
GUIDES = (-0.3, -0.5, -0.7)  # of the similarity-consistency study
LEVEL = 0.05
ACCENT = "#5d6770"  # of sets without a group
GROUP_COLOURS = ("#1f77b4", "#d4539b", "#c9a500", "#00a087", "#6b4a12", "#7d3668")


def plot_gap_correlations(
    performance_gaps: pd.DataFrame, stimulus_cards: pd.DataFrame, *, measure: str
) -> Figure:
    """Draw the correlation of similarity and accuracy difference on each stimulus set, with its interval.

    Returns:
        One row per stimulus set, the most negative on top; filled where the corrected permutation test is at
        most 0.05. Sets without a correlation come last, with their reason.
    """
    rows = performance_gaps[performance_gaps["measure"] == measure]
    if not len(rows) or rows["pearson"].isna().all():
        return plot_note(
            TITLE, f"no stimulus set has a correlation of {measure} with differences of accuracy"
        )
    return _plot(rows, groups_of_sets(stimulus_cards), measure)


@styled
def _plot(rows: pd.DataFrame, groups: Mapping[str, str], measure: str) -> Figure:
    rows = rows.sort_values("pearson", kind="stable", na_position="last").reset_index(drop=True)
    figure = start_figure(TITLE, 1.7 + 0.24 * len(rows))
    axes = figure.subplots()
    _draw_guides(axes)
    colours = _colours_of(rows["stimulus_set"], groups)
    for y, row in enumerate(rows.itertuples()):
        _draw_set(axes, y, row, colours.get(groups.get(str(row.stimulus_set), ""), ACCENT))
    columns = {
        "stimulus set": rows["stimulus_set"].astype(str), "Pearson r": rows["pearson"],
        "interval from": rows["pearson_low"], "to": rows["pearson_high"], "Spearman": rows["spearman"],
        "corrected p": rows["p_adjusted"], "network pairs": rows["n_pairs"],
    }  # fmt: skip
    defined = rows["pearson"].notna()
    describe_points(
        axes, rows.loc[defined, "pearson"], np.flatnonzero(defined),
        {name: values[defined] for name, values in columns.items()}, along="y", measure=measure,
    )  # fmt: skip
    axes.set_yticks(
        range(len(rows)),
        [f"{shortened(str(row.stimulus_set), 30)} (n = {row.n_pairs})" for row in rows.itertuples()],
    )
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    ends = rows[["pearson", "spearman", "pearson_low", "pearson_high"]].to_numpy(dtype=np.float64)
    axes.set_xlim(min(-0.8, float(np.nanmin(ends)) - 0.03), max(0.2, float(np.nanmax(ends)) + 0.03))
    axes.set_xlabel(f"correlation of similarity ({shortened(measure, 40)}) with the difference of accuracies")
    axes.set_title("n: pairs of networks", fontsize=8.5, color=MUTED)
    add_legend(figure, [*_handles(), *_group_handles(colours)], 4)
    return figure


def _draw_guides(axes: Axes) -> None:
    axes.axvline(0, color=INK, linewidth=1)
    for guide in GUIDES:
        axes.axvline(guide, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))


def _colours_of(stimulus_sets: Iterable[str], groups: Mapping[str, str]) -> dict[str, str]:
    """Return a colour for each group that is there, by name."""
    named = sorted({groups[name] for name in map(str, stimulus_sets) if name in groups})
    return {group: GROUP_COLOURS[index % len(GROUP_COLOURS)] for index, group in enumerate(named)}


def _group_handles(colours: Mapping[str, str]) -> list[Line2D]:
    return [Line2D([], [], color=colour, linewidth=4, label=group) for group, colour in colours.items()]


def _draw_set(axes: Axes, y: int, row: Any, colour: str) -> None:
    if np.isnan(row.pearson):
        axes.text(0.005, y, str(row.reason), color=MUTED, fontsize=7.5, va="center",
                  transform=axes.get_yaxis_transform())  # fmt: skip
        return
    axes.hlines(y, row.pearson_low, row.pearson_high, color=colour, linewidth=2, alpha=0.55)
    is_beyond = row.p_adjusted <= LEVEL
    axes.plot(row.pearson, y, marker="o", markersize=7, color=colour, zorder=4,
              markerfacecolor=colour if is_beyond else "#ffffff")  # fmt: skip
    axes.plot(row.spearman, y, marker="|", markersize=9, color=INK, markeredgewidth=1.6, zorder=5)


def _handles() -> list[Line2D]:
    return [
        Line2D([], [], color=ACCENT, marker="o", markersize=7, linewidth=2,
               label=f"Pearson r, interval; p ≤ {LEVEL:g} (names permuted, corrected)"),
        Line2D([], [], color=ACCENT, marker="o", markersize=7, linewidth=2, markerfacecolor="#ffffff",
               label="the same, p larger or not known"),
        Line2D([], [], linestyle="none", marker="|", markersize=9, color=INK, markeredgewidth=1.6,
               label="Spearman"),
        Line2D([], [], color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label="−0.3, −0.5, −0.7"),
    ]  # fmt: skip
