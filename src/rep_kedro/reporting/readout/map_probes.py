"""What does a probe gain that attends to positions? One panel per network, one line per read-out."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rep_kedro.datasets.marks import describe_points
from rep_kedro.reporting.names import shortened
from rep_kedro.reporting.style import (
    FURTHER_COLOURS,
    MUTED,
    add_legend,
    grid_of_panels,
    label_layers,
    plot_note,
    row_height,
    start_figure,
    styled,
    write_percents,
)
from rep_kedro.reporting.tables import chosen_stimulus_set, layers_in_order
from rep_kedro.reporting.texts import figure_texts

TITLE = figure_texts("map_probes")["title"]
ATTENTIVE = "attentive"
N_COLUMNS, MOST_NETWORKS, MOST_LABELS = 4, 12, 5
ATTENTIVE_COLOUR = "#0b7fb8"


def whole_maps(layer_probe_results: pd.DataFrame) -> pd.DataFrame:
    """Return the probes that read all positions of a layer, pooled or by attention."""
    return layer_probe_results[layer_probe_results["row"].isna()]


def readouts_in_order(rows: pd.DataFrame) -> list[str]:
    """Return attentive probes first, then pooled maps from coarse to fine."""

    def place(name: str) -> tuple[bool, int, str]:
        side = name.partition("x")[0]
        return name != ATTENTIVE, int(side) if side.isdigit() else 0, name

    return sorted(set(rows["readout"].astype(str)), key=place)


def plot_map_probes(layer_probe_results: pd.DataFrame, *, stimulus_set: str | None) -> Figure:
    """Draw the accuracy of attentive and pooled probes of maps over the layers of each network.

    Args:
        layer_probe_results: The contract's table; rows of single positions are left out.
        stimulus_set: The images to show; None, or images without such probes: the first that have some.

    Returns:
        Lines by read-out, with intervals over test images; of more networks than :data:`MOST_NETWORKS` some
        at equal distances.
    """
    rows = whole_maps(layer_probe_results)
    if not len(rows):
        return plot_note(TITLE, "no maps or tokens were probed (probing.layer_probes)")
    return _plot(rows[rows["stimulus_set"] == chosen_stimulus_set(stimulus_set, rows)])


@styled
def _plot(rows: pd.DataFrame) -> Figure:
    names, title = sorted(set(rows["model"].astype(str))), TITLE
    if len(names) > MOST_NETWORKS:
        title = f"{TITLE} ({MOST_NETWORKS} of {len(names)} networks)"
        names = [names[i] for i in np.linspace(0, len(names) - 1, MOST_NETWORKS).round().astype(int)]
    n_columns = min(N_COLUMNS, len(names))
    n_rows = -(-len(names) // n_columns)
    figure = start_figure(title, 0.9 + row_height(n_rows, 2.7, 0.9) * n_rows)
    readouts = readouts_in_order(rows)
    others = [name for name in readouts if name != ATTENTIVE]
    colours = {name: FURTHER_COLOURS[i % len(FURTHER_COLOURS)] for i, name in enumerate(others)}
    colours[ATTENTIVE] = ATTENTIVE_COLOUR
    panels = grid_of_panels(figure, len(names), n_columns, sharey=True)
    for index, (panel, name) in enumerate(zip(panels, names, strict=True)):
        own = rows[rows["model"].astype(str) == name]
        layers = layers_in_order(own)
        places = own["layer"].astype(str).map({layer: place for place, layer in enumerate(layers)})
        for number, readout in enumerate(readouts):
            part = own[own["readout"].astype(str) == readout].assign(place=places).sort_values("place")
            x = part["place"] + 0.06 * (number - (len(readouts) - 1) / 2)
            panel.vlines(
                x, part["test_low"], part["test_high"], color=colours[readout], linewidth=0.9, alpha=0.6
            )
            panel.plot(
                x, part["test_accuracy"], color=colours[readout], marker="o", markersize=3.5, linewidth=1.3
            )
        columns = {
            **{"layer": own["layer"].astype(str), "read-out": own["readout"].astype(str)},
            **{"test accuracy": own["test_accuracy"], "from": own["test_low"], "to": own["test_high"]},
        }
        describe_points(
            panel, places.astype(float), own["test_accuracy"].astype(float), columns, network=name
        )
        panel.axhline(1 / float(own["n_classes"].iloc[0]), color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
        label_layers(panel, layers, MOST_LABELS)
        panel.set_title(shortened(name, 22), fontsize=8.5)
        if index % n_columns == 0:
            panel.set_ylabel("accuracy on test images (%)", fontsize=8)
    write_percents(panels[0].yaxis)
    handles = [
        Line2D([], [], color=colours[name], marker="o", markersize=4, label=_written(name))
        for name in readouts
    ]
    handles.append(Line2D([], [], color=MUTED, linestyle=(0, (2, 2)), label="chance"))
    add_legend(figure, handles, 6)
    return figure


def _written(readout: str) -> str:
    return ATTENTIVE if readout == ATTENTIVE else f"averaged to {readout.replace('x', ' × ')}"
