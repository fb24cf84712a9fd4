"""What can be read out at each position of each layer? One small map per layer."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from rep_kedro.datasets.marks import describe_points
from rep_kedro.reporting.names import drawn, shortened
from rep_kedro.reporting.style import (
    COLOUR_MAP,
    SCREEN_IN,
    evenly,
    grid_of_panels,
    plot_note,
    start_figure,
    styled,
)
from rep_kedro.reporting.tables import chosen_stimulus_set, layers_in_order
from rep_kedro.reporting.texts import figure_texts

TITLE = figure_texts("position_maps")["title"]
N_COLUMNS, MOST_ROWS, MOST_NETWORKS = 8, 6, 3
ROW_IN, AROUND_IN = 1.34, 0.55
LAYER_CHARS, NETWORK_CHARS = 15, 18


def plot_position_maps(layer_probe_results: pd.DataFrame, *, stimulus_set: str | None) -> Figure:
    """Draw the accuracy of the probe of each position, a map per layer.

    Returns:
        Square maps from input to output, one colour scale from the lowest to the highest accuracy; each
        network begins a new row. Of many networks three are shown, of many layers as many as fit, at equal
        distances.
    """
    rows = layer_probe_results.dropna(subset=["row"])
    if not len(rows):
        return plot_note(TITLE, "no layer has probes of its positions (probing.layer_probes.positions)")
    return _plot(rows[rows["stimulus_set"] == chosen_stimulus_set(stimulus_set, rows)])


@styled
def _plot(rows: pd.DataFrame) -> Figure:
    networks = sorted(set(rows["model"].astype(str)))
    shown = evenly(networks, MOST_NETWORKS)
    layers = {name: layers_in_order(rows[rows["model"] == name]) for name in shown}
    most = N_COLUMNS * (MOST_ROWS // len(shown))
    chosen = {name: evenly(each, most) for name, each in layers.items()}
    n_rows = sum(-(-len(each) // N_COLUMNS) for each in chosen.values())
    figure = start_figure(
        _title(len(shown), len(networks), layers, most), min(AROUND_IN + ROW_IN * n_rows, SCREEN_IN)
    )
    panels = grid_of_panels(figure, N_COLUMNS * n_rows, N_COLUMNS)
    accuracies = rows.loc[rows["model"].isin(shown), "test_accuracy"].astype(float)
    limits = float(accuracies.min()), float(max(accuracies.max(), accuracies.min() + 0.01))
    images, start = [], 0
    for name, each in chosen.items():
        own = rows[rows["model"] == name]
        n_places = -(-len(each) // N_COLUMNS) * N_COLUMNS
        for panel, layer in zip(panels[start:], each, strict=False):
            images.append(_draw_map(panel, own[own["layer"] == layer], limits))
        for spare in panels[start + len(each) : start + n_places]:
            spare.set_axis_off()
        panels[start].set_ylabel(shortened(drawn(name), NETWORK_CHARS), fontsize=7.5)
        start += n_places
    figure.colorbar(images[0], ax=panels, label="accuracy", aspect=20, pad=0.01)
    return figure


def _title(n_shown: int, n_networks: int, layers: dict[str, list[str]], most: int) -> str:
    notes = [f"{n_shown} of {n_networks} networks"] if n_shown < n_networks else []
    if (n_layers := max(len(each) for each in layers.values())) > most:
        notes.append(f"{most} of up to {n_layers} layers")
    return f"{TITLE} ({', '.join(notes)})" if notes else TITLE


def _draw_map(axes: Axes, rows: pd.DataFrame, limits: tuple[float, float]) -> AxesImage:
    height, width = int(rows["height"].iloc[0]), int(rows["width"].iloc[0])
    values = np.full((height, width), np.nan)
    values[rows["row"].astype(int), rows["column"].astype(int)] = rows["test_accuracy"]
    image = axes.imshow(
        values, vmin=limits[0], vmax=limits[1], cmap=COLOUR_MAP, interpolation="none", aspect="auto"
    )
    axes.set_box_aspect(1)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(True)
    layer = str(rows["layer"].iloc[0])
    size = f"{height} × {width}, mean {100 * float(np.nanmean(values)):.0f} %"
    axes.set_title(f"{shortened(drawn(layer), LAYER_CHARS)}\n{size}", fontsize=7, loc="left", pad=2)
    columns: dict[str, Iterable[Any]] = {
        "row": rows["row"].astype(int),
        "column": rows["column"].astype(int),
        "accuracy": rows["test_accuracy"].astype(float),
    }
    describe_points(
        axes,
        rows["column"].astype(float),
        rows["row"].astype(float),
        columns,
        network=str(rows["model"].iloc[0]),
        layer=layer,
    )
    return image
