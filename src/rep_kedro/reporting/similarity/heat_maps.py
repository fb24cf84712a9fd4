"""Square heat maps of networks: cells, strips in the objectives' colours, names, legend."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch, Rectangle

from rep_kedro.reporting.names import drawn, shortened
from rep_kedro.reporting.style import COLOUR_MAP, MUTED, Palette, add_legend, make_square
from rep_kedro.reporting.tables import objectives_in_order

POINTS_PER_IN = 72
STRIP_SHARE = 0.03  # width of a strip, of the map's side
LARGEST_PT, SMALLEST_PT = 8.0, 4.5  # of names; where rows are lower, none are written


def colour_limits(frames: Iterable[pd.DataFrame]) -> tuple[float, float]:
    """Return limits from 0 to 1 as far as the values allow: the same in every panel, and in most reports."""
    values = np.concatenate([frame.to_numpy().ravel() for frame in frames])
    values = values[np.isfinite(values)]
    low = min(0.0, float(np.floor(values.min() * 10) / 10)) if values.size else 0.0
    high = max(1.0, float(np.ceil((values.max() - 1e-9) * 10) / 10)) if values.size else 1.0
    return low, high


def draw_map(
    axes: Axes,
    frame: pd.DataFrame,
    limits: tuple[float, float],
    colours: str = COLOUR_MAP,
    *,
    has_diagonal: bool = True,
) -> AxesImage:
    """Draw a square frame as coloured cells, undefined ones hatched; each cell is one pixel of an image.

    Args:
        axes: Where to draw.
        frame: Square; NaN is undefined.
        limits: Values of the first and the last colour.
        colours: Name of the colour map.
        has_diagonal: Whether the diagonal has values; where it has none by its nature it is left empty.
    """
    n = len(frame)
    values = frame.to_numpy(dtype=np.float64)
    image = axes.imshow(
        np.ma.masked_invalid(values), vmin=limits[0], vmax=limits[1], cmap=colormaps[colours],
        extent=(0, n, n, 0), interpolation="none",
    )  # fmt: skip
    is_hatched = ~np.isfinite(values) & (has_diagonal | ~np.eye(n, dtype=bool))
    for row, column in np.argwhere(is_hatched):
        axes.add_patch(
            Rectangle((column, row), 1, 1, facecolor="#ffffff", edgecolor=MUTED, hatch="////", linewidth=0)
        )
    make_square(axes)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    return image


def draw_strips(axes: Axes, colours: list[str]) -> None:
    """Mark each network's objective by a coloured strip left of its row and above its column."""
    n = len(colours)
    width = n * STRIP_SHARE
    left = [Rectangle((-1.35 * width, index + 0.04), width, 0.92) for index in range(n)]
    above = [Rectangle((index + 0.04, -1.35 * width), 0.92, width) for index in range(n)]
    for strip in (left, above):
        axes.add_collection(PatchCollection(strip, facecolors=colours, edgecolors="none"))
    axes.set_xlim(-1.5 * width, n)
    axes.set_ylim(n, -1.5 * width)


def label_networks(axes: Axes, order: list[str], *, side_in: float, with_names: bool) -> None:
    """Name the rows of a map that is about so many inches high, where there is room."""
    size_pt = min(LARGEST_PT, 0.85 * POINTS_PER_IN * side_in / len(order))
    axes.set_xticks([])
    if not with_names or size_pt < SMALLEST_PT:
        axes.set_yticks([])
        return
    axes.set_yticks(np.arange(len(order)) + 0.5, [shortened(model, 24) for model in order])
    axes.tick_params(axis="y", length=0, labelsize=size_pt)


def add_strip_legend(figure: Figure, objectives: list[str], palette: Palette, *, has_undefined: bool) -> None:
    """Say below the panels which colour is which objective, and what hatching means."""
    handles = [
        Patch(color=palette.colour(name), label=drawn(name)) for name in objectives_in_order(objectives)
    ]
    if has_undefined:
        handles.append(Patch(facecolor="#ffffff", edgecolor=MUTED, hatch="////", label="undefined"))
    add_legend(figure, handles, 6, title="objective (strips)", alignment="left")
