"""How values spread over pairs of stimulus sets: points where there are few, boxes where there are many."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from rep_kedro.datasets.marks import describe_points
from rep_kedro.reporting.names import Kind
from rep_kedro.reporting.style import INK, MUTED, Palette, palette_for

FEW_SET_PAIRS = 7  # up to so many, every stimulus-set pair is drawn as a point instead of a box
BOX_HALF_HEIGHT = 0.3
MOST_ROWS = 12  # in a panel; of more kinds of pairs the highest and the lowest are drawn
CATEGORY_TITLES: Mapping[str, str] = {
    "objective": "training objective",
    "architecture": "architecture",
    "source": "where from",
    "trained_on": "training data",
    "training_data": "class of training data",
    "size": "number of parameters",
    "model_sets": "sets of networks",
}


def highest_and_lowest(ranked: Sequence[Kind]) -> list[Kind]:
    """Return the kinds that a panel has room for: of too many, the first and the last in their order."""
    half = MOST_ROWS // 2
    return list(ranked) if len(ranked) <= MOST_ROWS else [*ranked[:half], *ranked[-half:]]


def title_with_count(title: str, n_kinds: int, *further: str) -> str:
    """Return a panel's title that says how many kinds are drawn where not all are, and further notes.

    Example:
        >>> title_with_count("by architecture", 28), title_with_count("by objective", 3)
        ('by architecture  (highest and lowest 6 of 28)', 'by objective')
    """
    cut = [f"highest and lowest {MOST_ROWS // 2} of {n_kinds}"] if n_kinds > MOST_ROWS else []
    notes = "; ".join([*cut, *further])
    return f"{title}  ({notes})" if notes else title


def palette_of_category(category: str, values: Iterable[str]) -> Palette:
    """Return a colour for each value if they are objectives: in all figures a colour is an objective's."""
    return palette_for(values) if category == "objective" else Palette({}, {})


def draw_overall(axes: Axes, values: "np.ndarray") -> None:
    """Draw the median of all network pairs as a line and their middle half as a band, top to bottom."""
    if not values.size:
        return
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    axes.axvspan(low, high, color=MUTED, alpha=0.14, linewidth=0)
    axes.axvline(median, color=MUTED, linewidth=1.6)


def draw_row(axes: Axes, y: float, rows: pd.DataFrame, colours: Sequence[str], kind: str) -> None:
    """Draw the defined values of one kind of pair at height y, and say how many are undefined.

    Args:
        axes: Where to draw.
        y: Height of the row; rows are 1 apart.
        rows: Columns pearson, pearson_low, pearson_high, one row per pair of stimulus sets.
        colours: One or two; two share the box, or the points.
        kind: What the row is, for readers who point at it.
    """
    defined = rows.dropna(subset=["pearson"])
    n_undefined = len(rows) - len(defined)
    values = defined["pearson"].to_numpy(dtype=np.float64)
    if values.size > FEW_SET_PAIRS:
        _draw_box(axes, y, values, colours)
        _describe_box(axes, y, values, kind)
    elif values.size:
        _draw_points(axes, y, defined, colours, kind)
    if n_undefined:
        note_row(axes, y, "undefined" if not values.size else f"{n_undefined} undefined")


def note_row(axes: Axes, y: float, note: str) -> None:
    """Write a small note at the left end of a row."""
    axes.text(0.005, y, note, color=MUTED, fontsize=7.5, va="center", transform=axes.get_yaxis_transform())


def legend_handles(n_set_pairs: int, overall: str | None) -> list[Line2D | Rectangle]:
    """Return the legend of rows and, where it has a name, of the overall line and band."""
    handles: list[Line2D | Rectangle] = []
    if n_set_pairs <= FEW_SET_PAIRS:
        handles.append(Line2D([], [], linestyle="none", marker="o", color=MUTED, markersize=7,
                              label="one pair of stimulus sets (line: interval)"))  # fmt: skip
    else:
        handles.append(Rectangle((0, 0), 1, 1, color=MUTED, label="middle half (line: 5 to 95 %)"))
    handles.append(Line2D([], [], linestyle="none", marker="|", markersize=13, color=INK, markeredgewidth=1.8,
                          label="median of the row"))  # fmt: skip
    if overall:
        handles.append(Line2D([], [], color=MUTED, linewidth=1.6, label=overall))
    return handles


def limits_of(rows: pd.DataFrame) -> tuple[float, float]:
    """Return limits of a shared axis that hold what is drawn: points with intervals, or boxes."""
    if len(rows[["stimulus_set_a", "stimulus_set_b"]].drop_duplicates()) > FEW_SET_PAIRS:
        low = float(rows.groupby(["category", "value_a", "value_b"])["pearson"].quantile(0.05).min())
    else:
        low = float(np.nanmin(rows[["pearson", "pearson_low", "pearson_high"]].to_numpy(dtype=np.float64)))
    return max(-1.0, float(np.floor(low * 10) / 10)) - 0.01, 1.015


def _draw_box(axes: Axes, y: float, values: "np.ndarray", colours: Sequence[str]) -> None:
    """Draw a box in the colours, one above the other, with whiskers to the 5 and 95 % points."""
    low, first, median, third, high = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])
    axes.plot([low, high], [y, y], color=INK, linewidth=1, zorder=2)
    height = 2 * BOX_HALF_HEIGHT / len(colours)
    for index, colour in enumerate(colours):
        bottom = y - BOX_HALF_HEIGHT + index * height
        axes.add_patch(
            Rectangle((first, bottom), third - first, height, facecolor=colour, linewidth=0, zorder=3)
        )
    ends = [y - BOX_HALF_HEIGHT, y + BOX_HALF_HEIGHT]
    axes.plot([median, median], ends, color="#ffffff", linewidth=3.4, zorder=4)
    axes.plot([median, median], ends, color=INK, linewidth=1.6, zorder=5)


def _describe_box(axes: Axes, y: float, values: "np.ndarray", kind: str) -> None:
    shares = (0.5, 0.25, 0.75, 0.05, 0.95)
    names = ("median r", "middle half from", "to", "5 % point", "95 % point")
    quantiles = {name: [value] for name, value in zip(names, np.quantile(values, shares), strict=True)}
    columns = {"kind": [kind], **quantiles, "pairs of stimulus sets": [len(values)]}
    describe_points(axes, quantiles["median r"], [y], columns, along="y")


def _draw_points(axes: Axes, y: float, rows: pd.DataFrame, colours: Sequence[str], kind: str) -> None:
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
    columns: dict[str, Any] = {
        "kind": [kind] * len(values), "stimulus set": rows["stimulus_set_a"].astype(str),
        "other stimulus set": rows["stimulus_set_b"].astype(str), "Pearson r": values,
        "interval from": ends[:, 0], "to": ends[:, 1],
    }  # fmt: skip
    describe_points(axes, values, y + offsets, columns)
    median = float(np.median(values))
    axes.plot([median, median], [y - 0.34, y + 0.34], color=INK, linewidth=1.8, zorder=4)
