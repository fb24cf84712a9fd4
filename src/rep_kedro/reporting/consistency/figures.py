"""Does similarity hold on other images? The spread of consistency over pairs of stimulus sets."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from rep_kedro.reporting.boxes import (
    MOST_ROWS,
    draw_overall,
    draw_row,
    highest_and_lowest,
    legend_handles,
    limits_of,
    title_with_count,
)
from rep_kedro.reporting.names import Kind, drawn_kind, shortened
from rep_kedro.reporting.pairs import KIND, of_kind
from rep_kedro.reporting.style import MUTED, Palette, add_legend, plot_note, row_height, start_figure, styled
from rep_kedro.reporting.tables import palette_of
from rep_kedro.reporting.texts import figure_texts

TITLE = figure_texts("consistency")["title"]
CATEGORY_TITLES = {
    "objective": "by the objectives of the two networks",
    "architecture": "by their architectures",
}


def plot_consistency(consistency: pd.DataFrame, model_cards: pd.DataFrame, *, measure: str) -> Figure:
    """Draw the consistency of every kind of network pair over all pairs of stimulus sets.

    Returns:
        One row per kind of pair, sorted by median, the highest on top; of many kinds the highest and
        the lowest. Few pairs of stimulus sets are points with their intervals, many are box plots. Line and
        band: median and middle half over all network pairs.
    """
    rows = consistency[(consistency["measure"] == measure) & consistency["pearson"].notna()]
    if not len(rows):
        return plot_note(TITLE, f"no defined consistency of the measure {measure!r}")
    return _plot(consistency[consistency["measure"] == measure], palette_of(model_cards), measure)


@styled
def _plot(consistency: pd.DataFrame, palette: Palette, measure: str) -> Figure:
    consistency = consistency[consistency["anchor"] == ""]
    ranked: dict[str, list[Kind]] = {
        category: kinds_by_median(consistency[consistency["category"] == category])
        for category in CATEGORY_TITLES
        if (consistency["category"] == category).any()
    } or {"all": [("all", "all")]}
    heights = [min(len(kinds), MOST_ROWS) + 1.3 for kinds in ranked.values()]
    figure = start_figure(TITLE, 1.5 + row_height(1, 0.36 * sum(heights), 1.5))
    panels = figure.subplots(len(ranked), 1, sharex=True, squeeze=False, height_ratios=heights).ravel()
    overall = consistency.loc[consistency["category"] == "all", "pearson"]
    for panel, (category, kinds) in zip(panels, ranked.items(), strict=True):
        draw_overall(panel, overall.dropna().to_numpy(dtype=np.float64))
        shown = highest_and_lowest(kinds)
        for position, kind in enumerate(reversed(shown)):
            rows = of_kind(consistency[consistency["category"] == category], kind)
            colours = [palette.colour(name) for name in kind] if category == "objective" else [MUTED]
            draw_row(panel, position, rows, colours, drawn_kind(kind))
        panel.set_yticks(range(len(shown)), [drawn_kind(kind) for kind in reversed(shown)])
        panel.set_ylim(-0.6, len(shown) - 0.4)
        panel.grid(axis="y", visible=False)
        title = CATEGORY_TITLES.get(category, "all pairs of networks")
        panel.set_title(title_with_count(title, len(kinds)))
    panels[-1].set_xlabel(
        f"consistency: Pearson r of {shortened(measure, 40)} between two stimulus sets (−1 to 1)"
    )
    panels[-1].set_xlim(*limits_of(consistency))
    n_set_pairs = len(consistency[["stimulus_set_a", "stimulus_set_b"]].drop_duplicates())
    handles = legend_handles(n_set_pairs, "median of all network pairs (band: middle half)")
    add_legend(figure, handles, 3)
    return figure


def kinds_by_median(rows: pd.DataFrame) -> list[Kind]:
    """Return the kinds of pair by falling median consistency; those without a defined value last."""
    medians = rows.groupby(list(KIND))["pearson"].median()
    return list(medians.sort_values(ascending=False, na_position="last", kind="stable").index)
