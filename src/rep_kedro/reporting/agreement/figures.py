"""Measure against measure: do they order pairs of networks, and kinds of pairs, in the same way?"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rep_kedro.datasets.marks import describe_points
from rep_kedro.reporting.names import drawn_kind, shortened
from rep_kedro.reporting.page import written_r
from rep_kedro.reporting.pairs import KIND, kinds_of
from rep_kedro.reporting.style import (
    COLOUR_MAP,
    CROWDED_DPI,
    INK,
    MANY_POINTS,
    MUTED,
    RASTER_DPI,
    add_legend,
    plot_note,
    start_figure,
    styled,
)
from rep_kedro.reporting.tables import pearson
from rep_kedro.reporting.texts import figure_texts

TITLE = figure_texts("measure_agreement")["title"]
Place = tuple[int, int]
Ends = tuple[float, float]
MOST_PANELS = 3
CROWDED = 0.95  # values above it are written with three digits
MOST_INTERVALS = 6  # so many measures leave room for intervals in the cells
ALL_COLOUR, KIND_COLOUR = "#d4539b", "#1f77b4"


def plot_measure_agreement(
    measure_agreement: pd.DataFrame, consistency: pd.DataFrame, *, measure: str
) -> Figure:
    """Draw how far measures agree, and the consistency under one measure against that under others.

    Args:
        measure_agreement: The contract's table.
        consistency: The contract's table, rows of all measures; those of anchors are left out.
        measure: On the horizontal axes of the scatters.

    Returns:
        Above: Pearson's r of each two measures, below the diagonal of similarities (means over sets),
        above it of consistency values. Below: one panel per other measure, a point per kind of network pair
        and pair of stimulus sets.
    """
    if not len(measure_agreement):
        return plot_note(TITLE, "one measure has none to be compared with")
    if measure_agreement["pearson"].isna().all():
        return plot_note(TITLE, f"no two measures have a correlation: {_reason_of(measure_agreement)}")
    own = consistency[consistency["anchor"] == ""]
    key = ["category", *KIND, "stimulus_set_a", "stimulus_set_b"]
    wide = own.pivot_table(index=key, columns="measure", values="pearson", aggfunc="first", observed=True)
    wide = wide.reset_index("category")
    return _plot(measure_agreement, wide, measure)


def _reason_of(agreement: pd.DataFrame) -> str:
    reasons = [reason for reason in agreement["reason"].dropna().astype(str) if reason]
    return shortened(reasons[0], 90) if reasons else "too few pairs of networks"


@styled
def _plot(agreement: pd.DataFrame, wide: pd.DataFrame, measure: str) -> Figure:
    measures = sorted(set(agreement["measure_a"]) | set(agreement["measure_b"]))
    others = [name for name in measures if name != measure and name in wide.columns][:MOST_PANELS]
    others = others if measure in wide.columns else []
    dpi = CROWDED_DPI if len(wide) * len(others) > MANY_POINTS else RASTER_DPI
    height = 1.5 + 0.62 * len(measures)
    figure = start_figure(TITLE, height + (3.6 if others else 0), dpi)
    n_columns = max(len(others), 1)
    grid = figure.add_gridspec(2 if others else 1, n_columns, height_ratios=[height, 3.4][: 1 + bool(others)])
    _draw_matrix(figure.add_subplot(grid[0, :]), agreement, measures)
    panels = [figure.add_subplot(grid[1, index]) for index in range(len(others))]
    for panel, other in zip(panels, others, strict=True):
        _draw_scatter(panel, wide, measure, other, rasterized=dpi == CROWDED_DPI)
    if panels:
        add_legend(figure, panels[0].get_legend_handles_labels()[0], 3)
    return figure


def _draw_matrix(axes: Axes, agreement: pd.DataFrame, measures: list[str]) -> None:
    values = np.full((len(measures), len(measures)), np.nan)
    cells = list(_cells_of(agreement, measures))
    for (x, y), value, _ in cells:
        values[y, x] = value
    low = min(0.0, float(np.nanmin(values))) if np.isfinite(values).any() else 0.0
    image = axes.imshow(values, cmap=colormaps[COLOUR_MAP], vmin=low, vmax=1, aspect="auto")
    for place, value, interval in cells:
        _write_cell(axes, place, value, interval if len(measures) <= MOST_INTERVALS else None, low)
    columns: dict[str, Any] = {
        "measure": [measures[y] for (_, y), *_ in cells],
        "other measure": [measures[x] for (x, _), *_ in cells],
        "compared": ["consistency" if x > y else "similarity" for (x, y), *_ in cells],
        "Pearson r": [value for _, value, _ in cells],
        "interval from": [ends[0] for *_, ends in cells], "to": [ends[1] for *_, ends in cells],
    }  # fmt: skip
    describe_points(axes, [x for (x, _), *_ in cells], [y for (_, y), *_ in cells], columns)
    axes.set_xticks(range(len(measures)), [_in_two_lines(name) for name in measures])
    axes.set_yticks(range(len(measures)), [shortened(name, 30) for name in measures])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_title("r of two measures (interval): similarities below the diagonal, consistency above it")
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.9, aspect=20, pad=0.01)
    bar.outline.set_visible(False)


def _cells_of(agreement: pd.DataFrame, measures: list[str]) -> Iterator[tuple[Place, float, Ends]]:
    """Yield column and row, value and interval of each cell: consistency above the diagonal."""
    place = {name: index for index, name in enumerate(measures)}
    first, second = (agreement[f"measure_{side}"].map(place).tolist() for side in "ab")
    numbers = agreement[["pearson", "pearson_low", "pearson_high"]].to_numpy(dtype=np.float64)
    for a, b, compared, (value, *ends) in zip(first, second, agreement["compared"], numbers, strict=True):
        low, high = sorted((a, b))
        yield (high, low) if compared == "consistency" else (low, high), float(value), (ends[0], ends[1])


def _write_cell(axes: Axes, place: Place, value: float, interval: Ends | None, low: float) -> None:
    if np.isnan(value):
        axes.text(place[0], place[1], "undefined", ha="center", va="center", color=MUTED, fontsize=8)
        return
    digits = 3 if abs(value) > CROWDED else 2
    text = f"{value:.{digits}f}"
    if interval is not None and not np.isnan(interval[0]):
        text += f"\n({interval[0]:.{digits}f} to {interval[1]:.{digits}f})"
    is_light = (value - low) / (1 - low) > 0.6
    axes.text(place[0], place[1], text.replace("-", "−"), ha="center", va="center", fontsize=8,
              color=INK if is_light else "#ffffff")  # fmt: skip


def _draw_scatter(axes: Axes, wide: pd.DataFrame, measure: str, other: str, *, rasterized: bool) -> None:
    both = wide.dropna(subset=[measure, other])
    is_all = (both["category"] == "all").to_numpy()
    columns: dict[str, Any] = {"kind": [drawn_kind(kind) for kind in kinds_of(both)]}
    columns |= {
        words: both.index.get_level_values(f"stimulus_set_{side}").astype(str)
        for words, side in (("stimulus set", "a"), ("other stimulus set", "b"))
    }
    columns |= {f"r under {name}": both[name] for name in (measure, other)}
    describe_points(axes, both[measure], both[other], columns)
    axes.plot([-1, 1], [-1, 1], color=MUTED, linewidth=1, zorder=1)
    for chosen, colour, label in (
        (~is_all, KIND_COLOUR, "kinds of network pairs"),
        (is_all, ALL_COLOUR, "all network pairs (line: equal under both)"),
    ):
        axes.plot(
            both.loc[chosen, measure], both.loc[chosen, other], linestyle="none", marker="o", color=colour,
            markersize=5 if len(both) < MANY_POINTS else 3, alpha=0.75, markeredgewidth=0, label=label,
            rasterized=rasterized,
        )  # fmt: skip
    low = float(np.nanmin(both[[measure, other]].to_numpy(), initial=1.0))
    span = max(1.0 - low, 0.1)
    axes.set_xlim(low - 0.06 * span, 1 + 0.03 * span)
    axes.set_ylim(low - 0.06 * span, 1 + 0.03 * span)
    axes.set_xlabel(f"r under {shortened(measure, 30)}", fontsize=8)
    axes.set_ylabel(f"r under {shortened(other, 30)}", fontsize=8)
    axes.set_title(f"consistency: {written_r(pearson(both[measure], both[other]))}, n = {len(both)}")


def _in_two_lines(name: str) -> str:
    """Break a measure's name at the underscore nearest to its middle."""
    short = shortened(name, 30)
    places = [index for index, character in enumerate(short) if character == "_"]
    if len(short) < 16 or not places:
        return short
    place = min(places, key=lambda index: abs(index - len(short) / 2))
    return f"{short[: place + 1]}\n{short[place + 1 :]}"
