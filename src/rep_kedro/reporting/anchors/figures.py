"""One network against kinds of networks: with which kind does its similarity hold on other images?"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rep_kedro.reporting.boxes import (
    CATEGORY_TITLES,
    draw_row,
    legend_handles,
    limits_of,
    note_row,
    palette_of_category,
)
from rep_kedro.reporting.names import drawn, shortened
from rep_kedro.reporting.style import (
    INK,
    MUTED,
    add_legend,
    grid_of_panels,
    plot_note,
    start_figure,
    styled,
    title_of_part,
)
from rep_kedro.reporting.tables import in_order
from rep_kedro.reporting.texts import figure_texts

TITLE = figure_texts("anchors")["title"]
EVERYONE = "all others"
UNTESTED = "too few stimulus sets to find a difference"
LEVEL = 0.01  # of the rank-sum test, corrected
MOST_PANELS, MOST_VALUES, MOST_STARS = 6, 6, 6
N_COLUMNS = 2
GAP = 0.8  # between two categories, in rows
SIZES = ("small", "medium", "large", "xlarge")
LANE = 0.035  # between two brackets, of the panel's width


@dataclass(frozen=True)
class _Row:
    """One row of every panel: a value of a category, its height and its colour."""

    category: str
    value: str
    y: float
    colour: str


def plot_anchors(consistency: pd.DataFrame, anchor_comparisons: pd.DataFrame, *, measure: str) -> Figure:
    """Draw the consistency of each anchor with each kind of network, one panel per anchor.

    Returns:
        One row per value of each category. A bracket with a star joins two values where the corrected
        rank-sum test is below 0.01 and the interval of the difference of medians leaves out 0.
    """
    own = consistency[(consistency["anchor"] != "") & (consistency["measure"] == measure)]
    if not len(own) or own["pearson"].isna().all():
        return plot_note(TITLE, f"no network is an anchor with a defined consistency ({measure})")
    return _plot(own, anchor_comparisons[anchor_comparisons["measure"] == measure], measure)


@styled
def _plot(own: pd.DataFrame, comparisons: pd.DataFrame, measure: str) -> Figure:
    anchors, rows = in_order(own["anchor"]), _lay_out(own)
    shown = anchors[:MOST_PANELS]
    title = title_of_part(TITLE, len(shown), len(anchors), "anchors")
    n_columns = min(N_COLUMNS, len(shown))
    height = 0.25 * (rows[-1].y + 1) + 0.75
    figure = start_figure(title, 1.1 + height * -(-len(shown) // n_columns))
    panels = grid_of_panels(figure, len(shown), n_columns, sharex=True, sharey=True)
    low, high = limits_of(own)
    for panel, anchor in zip(panels, shown, strict=True):
        _draw_anchor(panel, rows, own[own["anchor"] == anchor])
        n_starred, n_tests = _draw_stars(panel, rows, comparisons[comparisons["anchor"] == anchor])
        found = f"{n_starred} of {n_tests} differences are marked" if n_tests else UNTESTED
        panel.set_title(f"{shortened(anchor, 34)}:  {found}")
    panels[0].set_yticks([row.y for row in rows], [_label(row) for row in rows])
    panels[0].set_ylim(rows[-1].y + 0.6, -0.6)
    panels[0].set_xlim(low, high)
    for panel in panels[-n_columns:]:
        panel.tick_params(labelbottom=True)
    n_set_pairs = len(own[["stimulus_set_a", "stimulus_set_b"]].drop_duplicates())
    meaning = f"rank sum p < {LEVEL:g} (corrected), and interval of the difference without 0"
    star = Line2D([], [], color=INK, marker="*", markersize=9, linestyle="none", label=meaning)
    add_legend(
        figure, [*legend_handles(n_set_pairs, None), star], 3, alignment="left",
        title=f"horizontal: Pearson r of {shortened(measure, 40)} between two stimulus sets (−1 to 1)",
    )  # fmt: skip
    return figure


def _lay_out(own: pd.DataFrame) -> list[_Row]:
    """Return the rows from top to bottom: all others, then the values of each category, with gaps."""
    rows, y = [_Row("all", EVERYONE, 0.0, MUTED)], 0.0
    for category in in_order(own["category"]):
        if category == "all":
            continue
        part = own[own["category"] == category]
        by_size = part.groupby("value_b")["n_pairs"].max().sort_values(ascending=False, kind="stable")
        values = sorted((str(value) for value in by_size.index[:MOST_VALUES]), key=_by_size)
        palette = palette_of_category(category, values)
        y += GAP
        for value in values:
            y += 1
            rows.append(_Row(category, value, y, palette.colour(value)))
    return rows


def _by_size(value: str) -> tuple[int, str]:
    """Order size classes by size, and everything else by name."""
    return (SIZES.index(value) if value in SIZES else 0, value)


def _label(row: _Row) -> str:
    return row.value if row.category == "all" else shortened(drawn(row.value), 26)


def _draw_anchor(axes: Axes, rows: Sequence[_Row], own: pd.DataFrame) -> None:
    for row in rows:
        chosen = own[own["category"] == row.category]
        if row.category != "all":
            chosen = chosen[chosen["value_b"] == row.value]
        if len(chosen):
            draw_row(axes, row.y, chosen, [row.colour], _label(row))
        else:
            note_row(axes, row.y, "too few networks")
    for category in in_order(row.category for row in rows if row.category != "all"):
        first = min(row.y for row in rows if row.category == category)
        axes.text(0.01, first - 0.82, f"{CATEGORY_TITLES.get(category, category)}", color=MUTED, fontsize=7.5,
                  va="center", transform=axes.get_yaxis_transform())  # fmt: skip
    axes.grid(axis="y", visible=False)


def _draw_stars(axes: Axes, rows: Sequence[_Row], comparisons: pd.DataFrame) -> tuple[int, int]:
    """Join values that differ by brackets at the right, the clearest first; return how many do and could."""
    marked = comparisons[
        (comparisons["p_adjusted"] < LEVEL)
        & ((comparisons["difference_low"] > 0) | (comparisons["difference_high"] < 0))
    ]
    order = (marked["median_a"] - marked["median_b"]).abs().sort_values(ascending=False, kind="stable").index
    places = {(row.category, row.value): row.y for row in rows}
    keys = marked.loc[order, ["category", "value_a", "value_b"]].astype(str).to_numpy().tolist()
    ends = [
        sorted((places[category, a], places[category, b]))
        for category, a, b in keys
        if (category, a) in places and (category, b) in places
    ]
    lanes: list[float] = []  # where the last bracket of each lane ends
    for top, bottom in sorted(ends[:MOST_STARS]):
        free = [lane for lane, end in enumerate(lanes) if end < top - 0.5]
        lane = free[0] if free else len(lanes)
        lanes[lane : lane + 1] = [bottom]
        _draw_bracket(axes, 1.015 + LANE * lane, top, bottom)
    is_able = comparisons["p_adjusted"].notna() & (comparisons["p_smallest"] < LEVEL)
    return len(marked), int(is_able.sum())


def _draw_bracket(axes: Axes, x: float, top: float, bottom: float) -> None:
    across = axes.get_yaxis_transform()
    arm = LANE / 3
    axes.plot(
        [x - arm, x, x, x - arm],
        [top, top, bottom, bottom],
        color=INK,
        linewidth=1,
        transform=across,
        clip_on=False,
    )
    axes.plot(x, (top + bottom) / 2, marker="*", markersize=11, color=INK, markeredgecolor="#ffffff",
              markeredgewidth=1.2, transform=across, clip_on=False, zorder=6)  # fmt: skip
