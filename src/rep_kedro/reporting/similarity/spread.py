"""How similar is each pair of networks in the mean over stimulus sets, and how much does that vary?"""

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rep_kedro.datasets.marks import describe_points
from rep_kedro.reporting.names import Kind, drawn_kind, shortened
from rep_kedro.reporting.page import counted, written_r
from rep_kedro.reporting.pairs import kinds_of, mean_and_spread, names_of, of_kind, pairs_by_set
from rep_kedro.reporting.style import (
    CROWDED_DPI,
    MANY_POINTS,
    RASTER_DPI,
    Palette,
    add_legend,
    plot_note,
    start_figure,
    styled,
)
from rep_kedro.reporting.tables import palette_of, pearson
from rep_kedro.reporting.texts import figure_texts

TITLE = figure_texts("mean_and_spread")["title"]
N_LEGEND_COLUMNS = 4
FEW_POINTS = 400


def plot_mean_and_spread(
    similarities: pd.DataFrame, model_cards: pd.DataFrame, *, measure: str, spread_of: str = "similarity"
) -> Figure:
    """Draw mean against standard deviation over the stimulus sets, one point per pair of networks.

    Returns:
        Points coloured by the objectives of the two networks: inside by the one, edge by the other; Pearson's
        r of mean and standard deviation in the title.
    """
    wide = pairs_by_set(similarities)
    if wide.shape[1] < 2:
        return plot_note(TITLE, "a spread over stimulus sets needs at least two of them")
    moments = mean_and_spread(wide, is_angle=spread_of == "angle")
    if not len(moments):
        return plot_note(TITLE, f"no pair of networks has a similarity ({measure}) on every stimulus set")
    return _plot(moments, palette_of(model_cards), measure, spread_of)


@styled
def _plot(moments: pd.DataFrame, palette: Palette, measure: str, spread_of: str) -> Figure:
    is_crowded = len(moments) > MANY_POINTS
    figure = start_figure(TITLE, 4.7, CROWDED_DPI if is_crowded else RASTER_DPI)
    axes = figure.subplots()
    by_size = [kind for kind, _ in Counter(kinds_of(moments)).most_common()]  # rare kinds on top
    for kind in by_size:
        part = of_kind(moments, kind)
        draw_kind(axes, part["mean"], part["std"], kind, palette, len(moments), rasterized=is_crowded)
    columns = {**names_of(moments), "mean": moments["mean"], "standard deviation": moments["std"]}
    describe_points(axes, moments["mean"], moments["std"], columns, measure=measure)
    unit = "radians" if spread_of == "angle" else "no unit"
    what = "angle (arccos of the similarity)" if spread_of == "angle" else "similarity"
    axes.set_xlabel(f"mean {what} over stimulus sets ({shortened(measure, 40)}), {unit}")
    axes.set_ylabel(f"standard deviation over stimulus sets, {unit}")
    axes.set_ylim(bottom=0)
    axes.set_title(
        f"{counted(len(moments), 'pair')} of networks; mean and standard deviation: "
        f"{written_r(pearson(moments['mean'], moments['std']))}"
    )
    add_kind_legend(figure, sorted(by_size), palette)
    return figure


def draw_kind(
    axes: Axes, x: pd.Series, y: pd.Series, kind: Kind, palette: Palette, n_all: int, **options: Any
) -> None:
    """Draw the pairs of one kind: inside in the colour of the one objective, edge in that of the other."""
    size = 6.5 if n_all < FEW_POINTS else 4 if n_all < MANY_POINTS // 2 else 2.8
    look = _look(kind, palette, size)
    axes.plot(np.asarray(x), np.asarray(y), linestyle="none", **look, **options)


def add_kind_legend(figure: Figure, kinds: list[Kind], palette: Palette) -> None:
    """Add one entry per kind of pair below the panels."""
    handles = [
        Line2D([], [], linestyle="none", label=drawn_kind(kind), **_look(kind, palette, 7)) for kind in kinds
    ]
    add_legend(
        figure, handles, N_LEGEND_COLUMNS,
        title="objectives of the two networks (inside / edge)", alignment="left",
    )  # fmt: skip


def _look(kind: Kind, palette: Palette, size: float) -> dict[str, Any]:
    inside, edge = kind
    marker = palette.marker(inside) if inside == edge else "o"
    return {
        "marker": marker,
        "markersize": size,
        "markerfacecolor": palette.colour(inside),
        "markeredgecolor": palette.colour(edge),
        "markeredgewidth": 0.3 * size**0.8,
    }
