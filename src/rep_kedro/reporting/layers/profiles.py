"""What does each network do along its layers? Saturation, probes, border and tail, a panel per network."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from rep_kedro.reporting.layers.figures import BORDER_SHADE, border_position, describe_layers, shade_from
from rep_kedro.reporting.names import drawn, shortened
from rep_kedro.reporting.style import (
    INK,
    MUTED,
    add_legend,
    evenly,
    label_layers,
    plot_note,
    start_panels,
    styled,
    title_of_part,
)
from rep_kedro.reporting.tables import at_delta, chosen_stimulus_set, layers_in_order, nearest_delta
from rep_kedro.reporting.texts import figure_texts

TITLE = figure_texts("layer_profiles")["title"]
MOST_NETWORKS = 12
TAIL: Any = {"marker": "^", "color": INK, "markersize": 7, "linestyle": "none"}
SATURATION, PROBE = "#0072b2", "#d55e00"  # apart for all kinds of colour blindness (Okabe and Ito)


def plot_layer_profiles(
    layer_diagnostics: pd.DataFrame,
    probe_results: pd.DataFrame,
    receptive_fields: pd.DataFrame,
    layer_tails: pd.DataFrame,
    model_cards: pd.DataFrame,
    *,
    stimulus_set: str | None,
    delta: float,
) -> Figure:
    """Draw saturation and probe accuracy of single networks along their layers, joined by the layers' names.

    Returns:
        A panel per network; of more than twelve, those trained on these images if there are some, and at most
        twelve. All quantities are fractions in [0, 1]. Shaded: from the border layer on; triangle: first
        layer of the tail; dashed: test accuracy of networks that were trained on these images.
    """
    stimulus_set = chosen_stimulus_set(stimulus_set, layer_diagnostics, probe_results)
    saturation, probes, tails = (
        table[table["stimulus_set"] == stimulus_set]
        for table in (layer_diagnostics, probe_results, layer_tails)
    )
    saturation = at_delta(saturation, delta).dropna(subset=["saturation"])
    models = sorted({*saturation["model"].astype(str), *probes["model"].astype(str)})
    if not models:
        return plot_note(TITLE, f"neither saturation nor probes on {drawn(str(stimulus_set))}")
    accuracies = model_cards[model_cards["trained_on"] == stimulus_set].set_index("model")["test_accuracy"]
    return _plot(saturation, probes, receptive_fields, tails.set_index("model"), accuracies, models)


@styled
def _plot(
    saturation: pd.DataFrame,
    probes: pd.DataFrame,
    receptive_fields: pd.DataFrame,
    tails: pd.DataFrame,
    accuracies: "pd.Series[float]",
    models: list[str],
) -> Figure:
    n_networks = len(models)
    if n_networks > MOST_NETWORKS:
        models = evenly([model for model in models if model in accuracies.index] or models, MOST_NETWORKS)
    title = title_of_part(TITLE, len(models), n_networks, "networks")
    n_columns = min(3, len(models))
    figure, panels = start_panels(title, len(models), n_columns, row_in=2.5, around_in=1.0, sharey=True)
    for index, (panel, model) in enumerate(zip(panels, models, strict=True)):
        own = [table[table["model"] == model] for table in (saturation, probes)]
        layers = layers_in_order(pd.concat([table[["layer", "depth"]] for table in own]))
        fields = receptive_fields[receptive_fields["model"] == model]
        shade_from(panel, border_position(fields, layers), len(layers))
        for table, column, colour, marker in (
            (own[0], "saturation", SATURATION, "o"),
            (own[1], "test_accuracy", PROBE, "s"),
        ):
            _draw_line(panel, table, column, layers, colour, marker)
        tail = tails["tail_layer"].get(model)
        if isinstance(tail, str) and tail in layers:
            panel.plot([layers.index(tail)], [0], **TAIL, clip_on=False, zorder=4)
        accuracy = accuracies.get(model, np.nan)
        if pd.notna(accuracy):
            panel.axhline(accuracy, color=INK, linewidth=1, linestyle="--", zorder=1)
        _finish(panel, model, accuracy, layers, is_first=index % n_columns == 0)
    _add_legend(figure, saturation)
    return figure


def _draw_line(
    axes: Axes, rows: pd.DataFrame, column: str, layers: list[str], colour: str, marker: str
) -> None:
    rows = rows.sort_values("depth")
    places = [layers.index(layer) for layer in rows["layer"]]
    size = 4.5 if len(layers) <= MOST_NETWORKS else 2.5
    axes.plot(places, rows[column], color=colour, marker=marker, markersize=size, linewidth=1.6)
    describe_layers(axes, rows, column, layers, {"model": "network"})


def _finish(axes: Axes, model: str, accuracy: float, layers: list[str], *, is_first: bool) -> None:
    written = f" ({100 * accuracy:.1f} %)" if pd.notna(accuracy) else ""
    axes.set_title(shortened(drawn(model), 24) + written)
    label_layers(axes, layers, 10)
    axes.set_ylim(-0.03, 1.05)
    if is_first:
        axes.set_ylabel("fraction (0 to 1)")
        axes.set_xlabel("layer, input to output →", loc="left", fontsize=8)


def _add_legend(figure: Figure, saturation: pd.DataFrame) -> None:
    delta = f" (δ = {nearest_delta(saturation, 1.0):g})" if len(saturation) else ""
    handles = [
        Line2D(
            [], [], color=SATURATION, marker="o", linewidth=1.6, markersize=4.5, label=f"saturation{delta}"
        ),
        Line2D(
            [],
            [],
            color=PROBE,
            marker="s",
            linewidth=1.6,
            markersize=4.5,
            label="probe accuracy, test images",
        ),
        Line2D([], [], color=INK, linewidth=1, linestyle="--", label="test accuracy of the network"),
        Patch(facecolor=BORDER_SHADE, edgecolor=MUTED, linestyle=":", label="from the border layer on"),
        Line2D([], [], **TAIL, label="first layer of the tail"),
    ]
    add_legend(figure, handles, 5)
