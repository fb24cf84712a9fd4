"""Similarities on one stimulus set against those on another: what a consistency value looks like."""

from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rep_kedro.datasets.marks import describe_points
from rep_kedro.reporting.names import drawn, shortened
from rep_kedro.reporting.page import written_r
from rep_kedro.reporting.pairs import kinds_of, names_of, of_kind, pairs_by_set
from rep_kedro.reporting.similarity.spread import FEW_POINTS, draw_kind
from rep_kedro.reporting.style import (
    CROWDED_DPI,
    INK,
    MANY_POINTS,
    MUTED,
    PAPER,
    RASTER_DPI,
    Palette,
    plot_note,
    start_figure,
    styled,
)
from rep_kedro.reporting.tables import objectives_in_order, palette_of, pearson
from rep_kedro.reporting.texts import figure_texts

TITLE = figure_texts("set_scatter")["title"]
MOST_LINES = 7
NAMES = {
    1: ("",),
    2: ("highest", "lowest"),
    3: ("highest", "median", "lowest"),
}


def plot_set_scatter(similarities: pd.DataFrame, model_cards: pd.DataFrame, *, measure: str) -> Figure:
    """Draw the similarities on two stimulus sets against each other, for up to three pairs of sets.

    Returns:
        Columns: the pair of stimulus sets with the highest, the median and the lowest r. Above: all pairs of
        networks; below: pairs of networks of one objective, a line of least squares for each objective.
    """
    wide = pairs_by_set(similarities)
    chosen = chosen_set_pairs(wide)
    if not chosen:
        return plot_note(TITLE, f"no two stimulus sets have a correlation of similarities ({measure})")
    return _plot(wide, chosen, palette_of(model_cards), measure)


def chosen_set_pairs(wide: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the pairs of stimulus sets with the highest, the median and the lowest r; fewer of few.

    Args:
        wide: As :func:`rep_kedro.reporting.pairs.pairs_by_set` gives it.
    """
    ranked = []
    for a, b in combinations(wide.columns, 2):
        both = wide[[a, b]].dropna()
        r = pearson(both[a], both[b])
        if np.isfinite(r):
            ranked.append((-r, str(a), str(b)))
    ranked.sort()
    places = sorted({0, len(ranked) // 2, len(ranked) - 1}) if ranked else []
    return [ranked[place][1:] for place in places]


@styled
def _plot(wide: pd.DataFrame, chosen: list[tuple[str, str]], palette: Palette, measure: str) -> Figure:
    is_crowded = len(wide) * len(chosen) > MANY_POINTS
    figure = start_figure(TITLE, 7.6, CROWDED_DPI if is_crowded else RASTER_DPI)
    grid = figure.subplots(2, max(len(chosen), 2), squeeze=False, sharex="col", sharey="col")
    for spare in grid[:, len(chosen) :].ravel():
        spare.set_axis_off()
    for (above, below), (a, b), name in zip(grid.T, chosen, NAMES[len(chosen)], strict=False):
        both = wide[[a, b]].dropna()
        _draw_all(above, both, is_crowded=is_crowded)
        r = written_r(pearson(both[a], both[b]))
        above.set_title(f"{name}: {r}, n = {len(both)}".removeprefix(": "))
        _draw_within(below, both, palette, is_crowded=is_crowded)
        for panel in (above, below):
            _draw_diagonal(panel)
            panel.set_ylabel(f"on {shortened(b, 28)}")
        below.set_xlabel(f"on {shortened(a, 28)}")
    figure.supxlabel(f"similarity ({shortened(measure, 40)}), no unit", fontsize=9)
    return figure


def _draw_all(axes: Axes, both: pd.DataFrame, *, is_crowded: bool) -> None:
    a, b = both.columns
    values = {f"similarity on {name}": both[name] for name in (a, b)}
    describe_points(axes, both[a], both[b], {**names_of(both), **values})
    axes.plot(
        both[a].to_numpy(), both[b].to_numpy(), linestyle="none", marker="o", color=MUTED, alpha=0.5,
        markersize=4.5 if len(both) < FEW_POINTS else 2.5, markeredgewidth=0, rasterized=is_crowded,
    )  # fmt: skip
    _draw_line(axes, both[a], both[b], INK)


def _draw_within(axes: Axes, both: pd.DataFrame, palette: Palette, *, is_crowded: bool) -> None:
    """Draw the pairs of one objective, each objective with its line and its r."""
    a, b = both.columns
    within = {value_a for value_a, value_b in kinds_of(both) if value_a == value_b}
    of_objective = {objective: of_kind(both, (objective, objective)) for objective in within}
    for place, objective in enumerate(objectives_in_order(of_objective)):
        part, colour = of_objective[objective], palette.colour(objective)
        values = {f"similarity on {name}": part[name] for name in (a, b)}
        describe_points(axes, part[a], part[b], {**names_of(part), **values}, objective=drawn(objective))
        draw_kind(axes, part[a], part[b], (objective, objective), palette, len(both), rasterized=is_crowded)
        _draw_line(axes, part[a], part[b], colour)
        if place < MOST_LINES:
            label = f"{drawn(objective)}: {written_r(pearson(part[a], part[b]))}, n = {len(part)}"
            axes.text(
                0.02, 0.97 - 0.07 * place, label, color=colour, fontsize=7.5, va="top", zorder=5,
                transform=axes.transAxes, bbox={"facecolor": PAPER, "alpha": 0.8, "pad": 1, "linewidth": 0},
            )  # fmt: skip
    axes.set_title("pairs of one objective" if within else "no pairs of one objective")


def _draw_line(axes: Axes, x: pd.Series, y: pd.Series, colour: str) -> None:
    """Draw the line of least squares where there is a correlation."""
    r = pearson(x, y)
    if not np.isfinite(r):
        return
    slope = r * y.std() / x.std()
    ends = np.array([x.min(), x.max()])
    for shade, width in ((PAPER, 3.0), (colour, 1.6)):
        axes.plot(ends, y.mean() + slope * (ends - x.mean()), color=shade, linewidth=width)


def _draw_diagonal(axes: Axes) -> None:
    """Mark equal similarity on both sets, without changing what is in view."""
    limits = (*axes.get_xlim(), *axes.get_ylim())
    low, high = min(limits), max(limits)
    axes.plot([low, high], [low, high], color=MUTED, linewidth=0.9, linestyle=":", zorder=1)
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(6))
