"""How does the saturation of each layer develop while a network is trained?"""

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from rep_kedro.datasets.marks import describe_points
from rep_kedro.reporting.names import shortened
from rep_kedro.reporting.style import (
    GRID,
    evenly,
    plot_note,
    start_panels,
    styled,
    title_of_part,
)
from rep_kedro.reporting.tables import at_delta, layers_in_order
from rep_kedro.reporting.texts import figure_texts

TITLE = figure_texts("saturation_history")["title"]
COLOUR_MAP = "cividis"
MODE, RULE = "eval", "reach"
MOST_PANELS, MOST_COLUMNS = 12, 4
TITLE_CHARS, NAME_CHARS, MOST_NAMES = 128, 18, 16
CHARACTER_IN = 0.055  # width in the names of layers


def plot_saturation_history(saturation_history: pd.DataFrame, *, delta: float) -> Figure:
    """Draw saturation by layer and epoch, a panel per network.

    Args:
        saturation_history: The contract's table; rows of evaluation mode and the rule `reach` are shown.
        delta: Share of variance that defines saturation; the nearest one that there is.

    Returns:
        Maps: layers from input (top) to output, epochs from left to right, one colour scale from 0 to 1.
        Grey: undefined, or an epoch without a spectrum.
    """
    of_mode = (saturation_history["mode"] == MODE) & (saturation_history["rule"] == RULE)
    rows = saturation_history[of_mode].dropna(subset=["saturation"])
    if not len(rows):
        return plot_note(TITLE, "no training has the monitor saturation (training.grids, monitors)")
    return _plot(at_delta(rows, delta))


@styled
def _plot(rows: pd.DataFrame) -> Figure:
    models = sorted(set(rows["model"].astype(str)))
    title = title_of_part(TITLE, MOST_PANELS, len(models), "networks")
    models = evenly(models, MOST_PANELS)
    n_columns = min(MOST_COLUMNS, len(models))
    figure, panels = start_panels(title, len(models), n_columns, row_in=2.8, around_in=1.0)
    images = [
        _draw_map(panel, rows[rows["model"] == model], shortened(model, TITLE_CHARS // n_columns))
        for panel, model in zip(panels, models, strict=True)
    ]
    figure.colorbar(images[0], ax=panels, label="saturation (0 to 1)", shrink=0.8, aspect=30)
    return figure


def _draw_map(axes: Axes, rows: pd.DataFrame, title: str) -> AxesImage:
    layers = layers_in_order(rows)
    epochs = list(range(int(rows["epoch"].min()), int(rows["epoch"].max()) + 1))
    wide = rows.pivot_table(index="layer", columns="epoch", values="saturation")
    values = wide.reindex(index=layers, columns=epochs).to_numpy(dtype=float)
    image = axes.imshow(
        np.ma.masked_invalid(values),
        vmin=0,
        vmax=1,
        cmap=colormaps[COLOUR_MAP].with_extremes(bad=GRID),
        aspect="auto",
        interpolation="none",
        extent=(epochs[0] - 0.5, epochs[-1] + 0.5, len(layers) - 0.5, -0.5),
    )
    axes.set_xlabel("epoch", fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    step = -(-len(layers) // MOST_NAMES)
    places = range(0, len(layers), step)
    names = [shortened(layers[place], NAME_CHARS) for place in places]
    axes.set_yticks(list(places), names, fontsize=7)
    heading = axes.set_title(title, fontsize=8.5)  # starts above the names of layers
    shift = ScaledTranslation(-CHARACTER_IN * max(map(len, names)), 0, axes.figure.dpi_scale_trans)
    heading.set_transform(heading.get_transform() + shift)
    axes.grid(visible=False)
    heights = {layer: place for place, layer in enumerate(layers)}
    columns = {
        "network": rows["model"].astype(str),
        "layer": rows["layer"].astype(str),
        "epoch": rows["epoch"],
        "saturation": rows["saturation"],
    }
    describe_points(axes, rows["epoch"], [heights[str(layer)] for layer in rows["layer"]], columns)
    return image
