"""The look that all figures share: sizes, fonts, one colour and one marker per objective.

A colour is never the only sign: the marker says the same, and labels name what they mark. Labels come from
outside, so they are cleaned of control characters, cut to length and never read as mathematics.
"""

import functools
import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator
from matplotlib.transforms import Bbox

from rep_kedro.datasets.figure import every_letter
from rep_kedro.reporting.names import UNKNOWN as UNKNOWN  # noqa: PLC0414 - drawing modules take it from here
from rep_kedro.reporting.names import drawn, shortened_layer

P = ParamSpec("P")
T = TypeVar("T")

WIDTH_IN = 10.4
INK, MUTED, GRID, PAPER = "#1c2227", "#5d6770", "#d9dde1", "#ffffff"
COLOUR_MAP = "viridis"

# Hues of the similarity-consistency study (image-text blue, self-supervised orange, supervised green). The
# green is darker here: red-blind readers cannot distinguish that of the study (#2ca02c) from its orange.
OBJECTIVE_COLOURS: Mapping[str, str] = {
    "supervised": "#25541c",
    "simclr": "#ff7f0e",
    "self_supervised": "#ff7f0e",
    "vicreg": "#7d3668",
    "image_text": "#1f77b4",
    "untrained": "#9a9a9a",
}
OBJECTIVE_MARKERS: Mapping[str, str] = {
    "supervised": "o",
    "simclr": "^",
    "self_supervised": "^",
    "vicreg": "s",
    "image_text": "D",
    "untrained": "X",
}
FURTHER_COLOURS = ("#56b4e9", "#c9a500", "#004d66", "#d4539b", "#6b4a12", "#00a087")
FURTHER_MARKERS = ("v", "P", "<", ">", "h", "p")
RC: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "axes.unicode_minus": True,
    "figure.facecolor": PAPER,
    "figure.titlesize": 12,
    "figure.titleweight": "bold",
    "font.size": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "text.color": INK,
    "text.parse_math": False,
    "text.usetex": False,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 8,
}
RASTER_DPI = 160
_PLACE_DIGITS = 10  # of shares of the figure: far below a thousandth of a pixel
CROWDED_DPI = 90  # thousands of points are embedded as an image; finer ones would weigh megabytes
SCREEN_IN = 8.6  # height of a figure that a screen of 900 pixels shows at the full width of the page
CORNER = "NW"  # of its place, where a square panel is anchored
LEGEND_SHARE = 0.97  # of the figure's width, at most
MANY_POINTS = 3000  # beyond this, points are drawn as one embedded image so that the file stays small


@dataclass(frozen=True)
class Palette:
    """Colour and marker of every objective of a run; the same in every figure.

    Attributes:
        colours: Hexadecimal colour by objective.
        markers: Matplotlib marker by objective.
    """

    colours: Mapping[str, str]
    markers: Mapping[str, str]

    def colour(self, objective: str) -> str:
        """Return the objective's colour; grey for one that the model cards do not name."""
        return self.colours.get(objective, MUTED)

    def marker(self, objective: str) -> str:
        """Return the objective's marker."""
        return self.markers.get(objective, "d")

    def legend_handles(self, objectives: Iterable[str]) -> list[Line2D]:
        """Return one legend entry per objective, in the given order."""
        return [
            Line2D(
                [],
                [],
                linestyle="none",
                color=self.colour(objective),
                marker=self.marker(objective),
                markersize=7,
                label=drawn(objective),
            )
            for objective in objectives
        ]


def palette_for(objectives: Iterable[str]) -> Palette:
    """Return the palette of a run: named objectives keep their colour, others take the next free one by name.

    Example:
        >>> palette_for(["supervised", "rotation"]).colour("rotation")
        '#56b4e9'
        >>> palette_for(["image-text"]).colour("image-text")
        '#1f77b4'
    """
    known = {name: name.replace("-", "_") for name in sorted(set(objectives))}  # image-text is image_text
    others = [name for name, key in known.items() if key not in OBJECTIVE_COLOURS]
    further = {name: index % len(FURTHER_COLOURS) for index, name in enumerate(others)}
    return Palette(
        {n: OBJECTIVE_COLOURS.get(key) or FURTHER_COLOURS[further[n]] for n, key in known.items()},
        {n: OBJECTIVE_MARKERS.get(key) or FURTHER_MARKERS[further[n]] for n, key in known.items()},
    )


def styled(plot: Callable[P, Figure]) -> Callable[P, Figure]:
    """Run a plot function under the shared look and fix its layout: saving it twice gives the same bytes."""

    @functools.wraps(plot)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context({**mpl.rcParamsDefault, **RC, "backend": "svg"}), every_letter():
            figure = plot(*args, **kwargs)
            _place_axes(figure)
            _fix_ticks(figure)
        return figure

    return wrapper


def _place_axes(figure: Figure) -> None:
    """Give the axes their places for good, without drawing what is in them.

    The solver's last digits depend on addresses in memory: they are rounded off.
    """
    engine = figure.get_layout_engine()
    if engine is not None and figure.axes:
        engine.execute(figure)
        for axes in figure.axes:
            if axes.get_axes_locator() is None:
                place = axes.get_position(original=True).bounds
                axes.set_position(Bbox.from_bounds(*(round(share, _PLACE_DIGITS) for share in place)))
            axes.apply_aspect()
    figure.set_layout_engine(None)  # with "none" matplotlib draws once more before it saves


def _fix_ticks(figure: Figure) -> None:
    """Keep the ticks that were chosen: how many fit is otherwise asked again when the figure is saved."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            axis.set_major_locator(
                FixedLocator([tick for tick in axis.get_majorticklocs() if low <= tick <= high])
            )


def start_figure(title: str, height_in: float, dpi: int = RASTER_DPI) -> Figure:
    """Return an empty figure of the shared width with its title; no global plotting state is touched."""
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.06)
    figure = Figure(figsize=(WIDTH_IN, height_in), layout=layout, dpi=dpi)
    FigureCanvasSVG(figure)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def grid_of_panels(figure: Figure, n_panels: int, n_columns: int, **shared: Any) -> list[Axes]:
    """Return the axes of a grid in reading order; places beyond the last panel are left empty."""
    n_rows = math.ceil(n_panels / n_columns)
    axes = figure.subplots(n_rows, n_columns, squeeze=False, **shared).ravel().tolist()
    for spare in axes[n_panels:]:
        spare.set_axis_off()
    return list(axes[:n_panels])


def row_height(n_rows: int, wanted_in: float, around_in: float) -> float:
    """Return the height of each row of panels: the wanted one, or less, so that a screen holds the figure.

    Args:
        n_rows: Rows of panels.
        wanted_in: Height of a row where there are few, in inches.
        around_in: Height of title, legend and labels together, in inches.

    Example:
        >>> row_height(2, 3.0, 1.0), round(row_height(4, 3.0, 1.0), 2)
        (3.0, 1.9)
    """
    return min(wanted_in, (SCREEN_IN - around_in) / n_rows)


def start_panels(
    title: str, n_panels: int, n_columns: int, *, row_in: float, around_in: float, **shared: Any
) -> tuple[Figure, list[Axes]]:
    """Return a figure with a grid of panels that a screen holds, of heights as in :func:`row_height`."""
    n_rows = math.ceil(n_panels / n_columns)
    figure = start_figure(title, around_in + row_height(n_rows, row_in, around_in) * n_rows)
    return figure, grid_of_panels(figure, n_panels, n_columns, **shared)


def evenly(items: Sequence[T], most: int) -> list[T]:
    """Return at most so many items, evenly spaced in their order, the first and the last among them."""
    places = np.linspace(0, len(items) - 1, min(len(items), most)).round().astype(int)
    return [items[place] for place in places]


def title_of_part(title: str, n_shown: int, n_all: int, what: str) -> str:
    """Return a title that says how many are shown, where these are not all."""
    return title if n_shown >= n_all else f"{title} ({n_shown} of {n_all} {what})"


def names_in_lines(names: Sequence[str], n_characters: int = 100, most: int = 24) -> str:
    """Return names for a legend in lines; of very many the first ones, and how many follow.

    Example:
        >>> names_in_lines(["CNN", "ViT-B", "VGG"], n_characters=12, most=2).splitlines()
        ['CNN, ViT-B,', 'and 1 more']
    """
    listed = ", ".join(drawn(name) for name in names[:most])
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return textwrap.fill(listed + more, n_characters, break_long_words=False, break_on_hyphens=False)


def title_with_sets(title: str, n_shown: int, n_sets: int) -> str:
    """Return a title that says how many stimulus sets have a panel next to the mean, where not all have one.

    Example:
        >>> title_with_sets("Who?", 3, 5), title_with_sets("Who?", 3, 3)
        ('Who? (mean and 3 of 5 stimulus sets)', 'Who?')
    """
    return title if n_sets <= n_shown else f"{title} (mean and {n_shown} of {n_sets} stimulus sets)"


def add_legend(figure: Figure, handles: Sequence[Artist], most_columns: int, **words: Any) -> None:
    """Put a legend below the panels, in as many columns as the width of the figure holds.

    Args:
        figure: Of the shared width.
        handles: The entries, with their labels.
        most_columns: No more columns than these, even where there is room.
        **words: Further arguments of the legend, such as its title.
    """
    for n_columns in range(max(1, min(most_columns, len(handles))), 0, -1):
        legend = figure.legend(handles=list(handles), loc="outside lower left", ncols=n_columns, **words)
        if n_columns == 1 or legend.get_window_extent().width <= LEGEND_SHARE * figure.bbox.width:
            return
        legend.remove()


def write_percents(axis: Axis) -> None:
    """Write the fractions on an axis as percent: ticks at round steps, each with all its digits."""
    axis.set_major_locator(percent_locator())
    axis.set_major_formatter(percent_formatter())


def percent_locator() -> MaxNLocator:
    """Return a locator of steps of 1, 2 or 5 times a power of ten: whole percents from steps of 1 % on."""
    return MaxNLocator("auto", steps=[1, 2, 5, 10])


def percent_formatter() -> FuncFormatter:
    """Return a formatter of fractions as percent, without the sign.

    Example:
        >>> [percent_formatter()(fraction, None) for fraction in (0.025, 0.3, -0.1)]
        ['2.5', '30', '−10']
    """
    return FuncFormatter(lambda fraction, _: f"{round(100 * fraction, 9):g}".replace("-", "−"))


@styled
def plot_note(title: str, note: str) -> Figure:
    """Return a figure that says why there is nothing to draw; the reason is the figure's label, too."""
    figure = start_figure(title, 1.6)
    figure.set_label(note)
    axes = figure.subplots()
    axes.set_axis_off()
    axes.text(0.0, 0.55, f"Nothing to draw: {note}", color=MUTED, fontsize=10, transform=axes.transAxes)
    return figure


def make_square(axes: Axes) -> None:
    """Give both axes one scale; the panel keeps its upper left corner, so that its labels keep their room.

    A colour bar at the side moves the panel away, unless it is given ``panchor=CORNER``.
    """
    axes.set_aspect("equal")
    axes.set_anchor(CORNER)


def label_layers(axes: Axes, layers: Sequence[str], n_most: int = 12) -> None:
    """Name the layers on the horizontal axis; with many layers only every k-th name is written."""
    step = max(1, math.ceil(len(layers) / n_most))
    positions = list(range(0, len(layers), step))
    axes.set_xticks(positions, [shortened_layer(layers[index]) for index in positions])
    axes.tick_params(axis="x", labelrotation=35)
    for text in axes.get_xticklabels():
        text.set_horizontalalignment("right")
        text.set_rotation_mode("anchor")
    axes.set_xlim(-0.3, max(len(layers) - 1, 0) + 0.3)
