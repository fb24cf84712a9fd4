"""Does similarity hold on other images, whatever networks are grouped by? One panel per category."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rep_kedro.reporting.boxes import (
    CATEGORY_TITLES,
    MOST_ROWS,
    draw_overall,
    draw_row,
    highest_and_lowest,
    legend_handles,
    limits_of,
    palette_of_category,
    title_with_count,
)
from rep_kedro.reporting.names import Kind, drawn_kind, shortened
from rep_kedro.reporting.pairs import KIND, of_kind
from rep_kedro.reporting.style import (
    Palette,
    add_legend,
    grid_of_panels,
    plot_note,
    row_height,
    start_figure,
    styled,
)
from rep_kedro.reporting.tables import in_order
from rep_kedro.reporting.texts import figure_texts

TITLE = figure_texts("consistency_by_category")["title"]
N_COLUMNS = 2


def plot_consistency_by_category(
    consistency: pd.DataFrame, consistency_summary: pd.DataFrame, *, measure: str
) -> Figure:
    """Draw the consistency of every kind of network pair, one panel per category.

    Returns:
        One row per kind of pair, sorted by median, the highest on top, in the colours of the two values. Line
        and band: median and middle half over all network pairs.
    """
    own = consistency[(consistency["measure"] == measure) & (consistency["anchor"] == "")]
    if not len(own) or own["pearson"].isna().all():
        return plot_note(TITLE, f"no defined consistency of the measure {measure!r}")
    summary = consistency_summary[
        (consistency_summary["measure"] == measure) & (consistency_summary["anchor"] == "")
    ]
    n_small = {
        str(category): int((part["n_defined"] == 0).sum()) for category, part in summary.groupby("category")
    }
    return _plot(own, n_small, measure)


@styled
def _plot(own: pd.DataFrame, n_small: Mapping[str, int], measure: str) -> Figure:
    categories = [name for name in in_order(own["category"]) if name != "all"] or ["all"]
    ranked = {category: _rank(own[own["category"] == category]) for category in categories}
    n_columns = min(N_COLUMNS, len(categories))
    chunks = [categories[i : i + n_columns] for i in range(0, len(categories), n_columns)]
    heights = [max(min(len(ranked[name]), MOST_ROWS) for name in chunk) + 1.6 for chunk in chunks]
    height_in = max(row_height(1, 0.3 * sum(heights), 1.2), 0.2 * sum(heights))
    figure = start_figure(TITLE, 1.2 + height_in)
    panels = grid_of_panels(figure, len(categories), n_columns, sharex=True, height_ratios=heights)
    overall = own.loc[own["category"] == "all", "pearson"].dropna().to_numpy(dtype=np.float64)
    for panel, category in zip(panels, categories, strict=True):
        draw_overall(panel, overall)
        values = [value for kind in ranked[category] for value in kind]
        rows = own[own["category"] == category]
        _draw_category(panel, rows, ranked[category], palette_of_category(category, values))
        n_beside = max(min(len(ranked[name]), MOST_ROWS) for name in next(c for c in chunks if category in c))
        top = min(len(ranked[category]), MOST_ROWS) - 0.4
        panel.set_ylim(top - max(n_beside, 1) - 0.2, top)  # rows of panels side by side are of one height
        panel.set_title(_title_of(category, len(ranked[category]), n_small.get(category, 0)))
    panels[0].set_xlim(*limits_of(own))
    for panel in panels[-n_columns:]:
        panel.tick_params(labelbottom=True)
    n_set_pairs = len(own[["stimulus_set_a", "stimulus_set_b"]].drop_duplicates())
    handles = legend_handles(n_set_pairs, "median of all network pairs (band: middle half)")
    add_legend(
        figure, handles, 3, alignment="left",
        title=f"horizontal: Pearson r of {shortened(measure, 40)} between two stimulus sets (−1 to 1)",
    )  # fmt: skip
    return figure


def _rank(rows: pd.DataFrame) -> list[Kind]:
    """Return the kinds of pair with a defined value by falling median."""
    medians = rows.groupby(list(KIND))["pearson"].median().dropna()
    return list(medians.sort_values(ascending=False, kind="stable").index)


def _title_of(category: str, n_kinds: int, n_small: int) -> str:
    title = "all pairs of networks" if category == "all" else f"by {CATEGORY_TITLES.get(category, category)}"
    return title_with_count(title, n_kinds, *[f"{n_small} with too few networks not drawn"][: bool(n_small)])


def _draw_category(axes: Axes, rows: pd.DataFrame, ranked: Sequence[Kind], palette: Palette) -> None:
    shown = highest_and_lowest(ranked)
    for y, kind in enumerate(reversed(shown)):
        colours = list(dict.fromkeys(map(palette.colour, kind)))
        draw_row(axes, y, of_kind(rows, kind), colours, drawn_kind(kind))
    axes.set_yticks(range(len(shown)), [drawn_kind(kind) for kind in reversed(shown)])
    axes.grid(axis="y", visible=False)
