"""Does similarity hold on other images? The spread of consistency over pairs of stimulus sets."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from rep_kedro.reporting.style import (
    INK,
    MUTED,
    Palette,
    plot_note,
    shortened,
    start_figure,
    styled,
    written,
)
from rep_kedro.reporting.tables import palette_of
from rep_kedro.reporting.texts import figure_texts

TITLE = figure_texts("figure_consistency")["title"]
FEW_SET_PAIRS = 7  # up to so many, every stimulus-set pair is drawn as a point instead of a box
CATEGORY_TITLES = {
    "objective": "by the objectives of the two networks",
    "architecture": "by their architectures",
}
BOX_HALF_HEIGHT = 0.3


def plot_consistency(consistency: pd.DataFrame, model_cards: pd.DataFrame, *, measure: str) -> Figure:
    """Draw the consistency of every kind of network pair over all pairs of stimulus sets.

    Args:
        consistency: The contract's table.
        model_cards: Gives the objectives' colours.
        measure: Which similarity measure.

    Returns:
        One row per kind of pair, sorted by median, the highest on top. Few pairs of stimulus sets are points
        with their intervals, many are box plots. Line and band:
        median and middle half over all network pairs.
    """
    rows = consistency[(consistency["measure"] == measure) & consistency["pearson"].notna()]
    if not len(rows):
        return plot_note(TITLE, f"no defined consistency of the measure {measure!r}")
    return _plot(consistency[consistency["measure"] == measure], palette_of(model_cards), measure)


@styled
def _plot(consistency: pd.DataFrame, palette: Palette, measure: str) -> Figure:
    ranked = {
        category: pairs_by_median(consistency[consistency["category"] == category])
        for category in CATEGORY_TITLES
        if (consistency["category"] == category).any()
    } or {"all": ["all"]}
    heights = [len(pairs) + 1.3 for pairs in ranked.values()]
    figure = start_figure(TITLE, 1.5 + 0.36 * sum(heights))
    panels = figure.subplots(len(ranked), 1, sharex=True, squeeze=False, height_ratios=heights).ravel()
    overall = _values(consistency, "all", "all")
    for panel, (category, pairs) in zip(panels, ranked.items(), strict=True):
        _draw_overall(panel, overall)
        for position, pair in enumerate(reversed(pairs)):
            rows = consistency[(consistency["category"] == category) & (consistency["pair"] == pair)]
            colours = (
                [palette.colour(name) for name in pair.split(" / ")] if category == "objective" else [MUTED]
            )
            _draw_pair(panel, position, rows, colours)
        panel.set_yticks(range(len(pairs)), [written(pair) for pair in reversed(pairs)])
        panel.set_ylim(-0.6, len(pairs) - 0.4)
        panel.grid(axis="y", visible=False)
        panel.set_title(CATEGORY_TITLES.get(category, "all pairs of networks"))
    panels[-1].set_xlabel(
        f"consistency: Pearson r of {shortened(measure, 40)} between two stimulus sets (−1 to 1)"
    )
    panels[-1].set_xlim(*_limits(consistency))
    _add_legend(figure, consistency)
    return figure


def pairs_by_median(rows: pd.DataFrame) -> list[str]:
    """Return the kinds of pair by falling median consistency; those without a defined value last."""
    medians = rows.groupby("pair")["pearson"].median()
    return [
        str(pair) for pair in medians.sort_values(ascending=False, na_position="last", kind="stable").index
    ]


def _values(consistency: pd.DataFrame, category: str, pair: str) -> "np.ndarray":
    rows = consistency[(consistency["category"] == category) & (consistency["pair"] == pair)]
    return rows["pearson"].dropna().to_numpy(dtype=np.float64)


def _limits(consistency: pd.DataFrame) -> tuple[float, float]:
    columns = consistency[["pearson", "pearson_low", "pearson_high"]].to_numpy(dtype=np.float64)
    low = float(np.nanmin(columns))
    return max(-1.0, float(np.floor(low * 10) / 10)) - 0.01, 1.015


def _draw_overall(axes: Axes, overall: "np.ndarray") -> None:
    if not overall.size:
        return
    low, median, high = np.quantile(overall, [0.25, 0.5, 0.75])
    axes.axvspan(low, high, color=MUTED, alpha=0.14, linewidth=0)
    axes.axvline(median, color=MUTED, linewidth=1.6)


def _draw_pair(axes: Axes, y: int, rows: pd.DataFrame, colours: Sequence[str]) -> None:
    defined = rows.dropna(subset=["pearson"])
    n_undefined = len(rows) - len(defined)
    values = defined["pearson"].to_numpy(dtype=np.float64)
    if values.size > FEW_SET_PAIRS:
        _draw_box(axes, y, values, colours)
    elif values.size:
        _draw_points(axes, y, defined, colours)
    if n_undefined:
        note = "undefined" if not values.size else f"{n_undefined} undefined"
        axes.text(
            0.005, y, note, color=MUTED, fontsize=7.5, va="center", transform=axes.get_yaxis_transform()
        )


def _draw_box(axes: Axes, y: int, values: "np.ndarray", colours: Sequence[str]) -> None:
    """Draw a box in the two objectives' colours, one per half, with whiskers to the 5 and 95 % points."""
    low, first, median, third, high = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])
    axes.plot([low, high], [y, y], color=INK, linewidth=1, zorder=2)
    height = 2 * BOX_HALF_HEIGHT / len(colours)
    for index, colour in enumerate(colours):
        bottom = y - BOX_HALF_HEIGHT + index * height
        axes.add_patch(
            Rectangle((first, bottom), third - first, height, facecolor=colour, linewidth=0, zorder=3)
        )
    axes.plot(
        [median, median], [y - BOX_HALF_HEIGHT, y + BOX_HALF_HEIGHT], color="#ffffff", linewidth=3.4, zorder=4
    )
    axes.plot(
        [median, median], [y - BOX_HALF_HEIGHT, y + BOX_HALF_HEIGHT], color=INK, linewidth=1.6, zorder=5
    )


def _draw_points(axes: Axes, y: int, rows: pd.DataFrame, colours: Sequence[str]) -> None:
    values = rows["pearson"].to_numpy(dtype=np.float64)
    offsets = np.linspace(0.2, -0.2, len(values)) if len(values) > 1 else np.zeros(1)
    ends = rows[["pearson_low", "pearson_high"]].to_numpy(dtype=np.float64)
    axes.hlines(y + offsets, ends[:, 0], ends[:, 1], color=MUTED, linewidth=0.9, alpha=0.7, zorder=2)
    axes.plot(
        values, y + offsets, linestyle="none", marker="o", markersize=7, zorder=3,
        fillstyle="left" if colours[0] != colours[-1] else "full",
        markerfacecolor=colours[0], markerfacecoloralt=colours[-1], markeredgecolor="#ffffff",
        markeredgewidth=0.6,
    )  # fmt: skip
    median = float(np.median(values))
    axes.plot([median, median], [y - 0.34, y + 0.34], color=INK, linewidth=1.8, zorder=4)


def _add_legend(figure: Figure, consistency: pd.DataFrame) -> None:
    n_set_pairs = len(consistency[["stimulus_set_a", "stimulus_set_b"]].drop_duplicates())
    handles: list[Line2D | Rectangle] = []
    if n_set_pairs <= FEW_SET_PAIRS:
        handles.append(Line2D([], [], linestyle="none", marker="o", color=MUTED, markersize=7,
                              label="one pair of stimulus sets (line: interval)"))  # fmt: skip
    else:
        handles.append(Rectangle((0, 0), 1, 1, color=MUTED, label="middle half (line: 5 to 95 %)"))
    handles.append(Line2D([], [], linestyle="none", marker="|", markersize=13, color=INK, markeredgewidth=1.8,
                          label="median of the row"))  # fmt: skip
    handles.append(
        Line2D([], [], color=MUTED, linewidth=1.6, label="median of all network pairs (band: middle half)")
    )
    figure.legend(handles=handles, loc="outside lower left", ncols=3)
