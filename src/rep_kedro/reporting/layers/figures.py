"""What are the layers like, and can one network go on from another network's layer?"""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from rep_kedro.datasets.marks import describe_points
from rep_kedro.reporting.names import drawn, shortened
from rep_kedro.reporting.stitching.rows import one_map
from rep_kedro.reporting.style import (
    INK,
    MUTED,
    Palette,
    add_legend,
    evenly,
    label_layers,
    plot_note,
    start_figure,
    start_panels,
    styled,
    title_of_part,
)
from rep_kedro.reporting.tables import (
    at_delta,
    chosen_stimulus_set,
    in_order,
    layers_in_order,
    nearest_delta,
    objectives_in_order,
    palette_of,
    with_traits,
)
from rep_kedro.reporting.texts import figure_texts

SATURATION_TITLE = figure_texts("saturation")["title"]
STITCHING_TITLE = figure_texts("stitching")["title"]
BORDER_SHADE = "#e9edf0"
FEW_KINDS, MOST_KINDS = 8, 12  # panels: up to so many a column for each objective, and at most
TITLE_CHARS = 96  # of all titles in a row of panels


def plot_saturation(
    layer_diagnostics: pd.DataFrame,
    probe_results: pd.DataFrame,
    receptive_fields: pd.DataFrame,
    model_cards: pd.DataFrame,
    *,
    stimulus_set: str | None,
    delta: float,
) -> Figure:
    """Draw saturation and probe accuracy along the layers, a panel per architecture and objective.

    Returns:
        Thin lines: single networks; thick: their mean. Both quantities are fractions in [0, 1]. Shaded: from
        the border layer on, the first whose input already sees the whole image.
    """
    stimulus_set = chosen_stimulus_set(stimulus_set, layer_diagnostics, probe_results)
    rows = layer_diagnostics[layer_diagnostics["stimulus_set"] == stimulus_set].dropna(subset=["saturation"])
    if not len(rows):
        return plot_note(SATURATION_TITLE, f"no saturation was computed on {_written_set(stimulus_set)}")
    rows = with_traits(at_delta(rows, delta), model_cards)
    probes = with_traits(probe_results[probe_results["stimulus_set"] == stimulus_set], model_cards)
    return _plot_saturation(rows, probes, with_traits(receptive_fields, model_cards), palette_of(model_cards))


@styled
def _plot_saturation(
    rows: pd.DataFrame, probes: pd.DataFrame, receptive_fields: pd.DataFrame, palette: Palette
) -> Figure:
    kinds = kinds_with_networks(rows)
    n_objectives = len({objective for _, objective in kinds})
    n_columns = min(4, n_objectives if n_objectives > 1 and len(kinds) <= FEW_KINDS else len(kinds))
    title = title_of_part(SATURATION_TITLE, MOST_KINDS, len(kinds), "kinds of networks")
    kinds = evenly(kinds, MOST_KINDS)
    figure, panels = start_panels(title, len(kinds), n_columns, row_in=2.5, around_in=1.0, sharey=True)
    for index, (panel, (architecture, objective)) in enumerate(zip(panels, kinds, strict=True)):
        of_architecture = rows[rows["architecture"] == architecture]
        layers = layers_in_order(of_architecture)
        border = border_position(receptive_fields[receptive_fields["architecture"] == architecture], layers)
        shade_from(panel, border, len(layers))
        for table, column, colour, look in (
            (of_architecture, "saturation", palette.colour(objective), {"marker": "o"}),
            (probes, "test_accuracy", INK, {"marker": "s", "linestyle": "--"}),
        ):
            is_kind = (table["architecture"] == architecture) & (table["objective"] == objective)
            _draw_lines(panel, table[is_kind], column, layers, colour, **look)
            describe_layers(panel, table[is_kind], column, layers, {"model": "network"})
        name = shortened(f"{drawn(architecture)}, {drawn(objective)}", TITLE_CHARS // n_columns)
        _finish_panel(panel, name, layers, is_first=index % n_columns == 0)
        panel.set_ylim(-0.03, 1.05)
        if index % n_columns == 0:
            panel.set_ylabel("fraction (0 to 1)")
    _add_saturation_legend(figure, rows)
    return figure


def kinds_with_networks(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """Return (architecture, objective) of the networks that there are: architectures by name."""
    held = set(zip(rows["architecture"], rows["objective"], strict=True))
    order = objectives_in_order(objective for _, objective in held)
    return sorted(held, key=lambda kind: (kind[0], order.index(kind[1])))


def _written_set(stimulus_set: str | None) -> str:
    return "any stimulus set" if stimulus_set is None else f"the stimulus set {stimulus_set!r}"


def border_position(receptive_fields: pd.DataFrame, layers: Sequence[str]) -> int | None:
    """Return the position of the first shown layer at or beyond the border; None where there is none."""
    beyond = receptive_fields[
        receptive_fields["is_border"].astype(bool) | receptive_fields["is_beyond_border"].astype(bool)
    ]
    names = set(beyond["layer"].astype(str))
    return next((index for index, layer in enumerate(layers) if layer in names), None)


def shade_from(axes: Axes, border: int | None, n_layers: int) -> None:
    """Shade the panel from a layer on, if there is one."""
    if border is not None:
        axes.axvspan(border - 0.15, n_layers - 0.7, color=BORDER_SHADE, linewidth=0, zorder=0)
        axes.axvline(border - 0.15, color=MUTED, linewidth=1, linestyle=":", zorder=1)


def _draw_lines(
    axes: Axes, rows: pd.DataFrame, column: str, layers: Sequence[str], colour: str, *, marker: str,
    linestyle: str = "-", group: Sequence[str] = ("model",),
) -> None:  # fmt: skip
    """Draw each network thinly and their mean thickly, at the layers' positions."""
    if not len(rows):
        return
    wide = rows.pivot_table(index="layer", columns=list(group), values=column, aggfunc="first", sort=True)
    wide = wide.reindex([layer for layer in layers if layer in set(wide.index)])
    positions = [list(layers).index(layer) for layer in wide.index]
    if wide.shape[1] > 1:
        for name in wide.columns:
            axes.plot(positions, wide[name], color=colour, linewidth=0.8, alpha=0.45, linestyle=linestyle)
    axes.plot(
        positions,
        wide.mean(axis=1),
        color=colour,
        linewidth=2,
        linestyle=linestyle,
        marker=marker,
        markersize=4.5,
    )


def describe_layers(
    axes: Axes, rows: pd.DataFrame, column: str, layers: Sequence[str], names: Mapping[str, str]
) -> None:
    """Say of which network and layer each value is; a value is at its layer's position."""
    rows = rows[rows["layer"].isin(layers)].dropna(subset=[column])
    columns = {words: rows[name].astype(str) for name, words in names.items()}
    columns |= {"layer": rows["layer"].astype(str), column.replace("_", " "): rows[column]}
    positions = rows["layer"].map({layer: place for place, layer in enumerate(layers)})
    for stimulus_set in in_order(rows["stimulus_set"]):
        describe_points(axes, positions, rows[column], columns, stimulus_set=stimulus_set)


def _finish_panel(axes: Axes, title: str, layers: Sequence[str], *, is_first: bool) -> None:
    axes.set_title(title)
    label_layers(axes, layers, 10)
    if is_first:
        axes.set_xlabel("layer, input to output →", loc="left", fontsize=8)


def _add_saturation_legend(figure: Figure, rows: pd.DataFrame) -> None:
    delta = nearest_delta(rows, 1.0)
    handles = [
        Line2D([], [], color=MUTED, marker="o", linewidth=2, markersize=4.5,
               label=f"saturation (δ = {delta:g}; in the objective's colour)"),
        Line2D([], [], color=INK, marker="s", linewidth=2, markersize=4.5, linestyle="--",
               label="probe accuracy on test images"),
        Patch(facecolor=BORDER_SHADE, edgecolor=MUTED, linestyle=":", label="from the border layer on"),
    ]  # fmt: skip
    add_legend(figure, handles, 3)


def plot_stitching(
    stitching_results: pd.DataFrame, model_cards: pd.DataFrame, *, stimulus_set: str | None
) -> Figure:
    """Draw the relative accuracy of stitched networks along the layers.

    Returns:
        A panel per architecture pair and objective of the network that goes on; a colour per objective of the
        network that begins. 1 means: as accurate as the network that goes on is by itself.
    """
    stimulus_set = chosen_stimulus_set(stimulus_set, stitching_results)
    rows = one_map(stitching_results[stitching_results["stimulus_set"] == stimulus_set])
    rows = rows.dropna(subset=["relative_accuracy"])
    if not len(rows):
        return plot_note(STITCHING_TITLE, f"no networks were stitched on {_written_set(stimulus_set)}")
    fronts = with_traits(rows, model_cards, "front_model")
    ends = with_traits(rows, model_cards, "end_model")
    pairs = [
        f"{drawn(a)} → {drawn(b)}" if a != b else drawn(a)
        for a, b in zip(fronts["architecture"], ends["architecture"], strict=True)
    ]
    return _plot_stitching(
        rows.assign(front=fronts["objective"], end=ends["objective"], architectures=pairs),
        palette_of(model_cards),
    )


@styled
def _plot_stitching(rows: pd.DataFrame, palette: Palette) -> Figure:
    architectures, ends = in_order(rows["architectures"]), objectives_in_order(rows["end"])
    fronts = objectives_in_order(rows["front"])
    figure = start_figure(STITCHING_TITLE, 1.0 + 2.7 * len(architectures))
    grid = figure.subplots(len(architectures), len(ends), sharey=True, squeeze=False)
    for axes_row, architecture in zip(grid, architectures, strict=True):
        of_architecture = rows[rows["architectures"] == architecture]
        layers = layers_in_order(of_architecture)
        for panel, end in zip(axes_row, ends, strict=True):
            panel.axhline(1.0, color=INK, linewidth=1, linestyle=":")
            shown = of_architecture[of_architecture["end"] == end]
            for front in fronts:
                of_front = shown[shown["front"] == front]
                describe_layers(
                    panel, of_front, "relative_accuracy", layers,
                    {"front_model": "network that begins", "end_model": "network that goes on"},
                )  # fmt: skip
                _draw_lines(
                    panel, of_front, "relative_accuracy", layers, palette.colour(front),
                    marker=palette.marker(front), group=("front_model", "end_model"),
                )  # fmt: skip
            if not len(shown):
                panel.text(0.5, 0.5, "none stitched", color=MUTED, ha="center", transform=panel.transAxes)
            panel.set_title(f"{architecture}: {drawn(end)} goes on", color=INK)
            label_layers(panel, layers, 10)
        axes_row[0].set_ylabel("relative accuracy\n(stitched / alone)")
        axes_row[0].set_xlabel("layer at which they are joined →", loc="left", fontsize=8)
    grid[0][0].set_ylim(
        min(0.0, float(rows["relative_accuracy"].min())) - 0.03,
        max(1.08, float(rows["relative_accuracy"].max()) + 0.05),
    )
    add_legend(
        figure, _front_handles(fronts, palette), len(fronts) + 1,
        title="objective of the network that begins", alignment="left",
    )  # fmt: skip
    return figure


def _front_handles(fronts: Sequence[str], palette: Palette) -> list[Line2D]:
    handles = [
        Line2D([], [], color=palette.colour(name), marker=palette.marker(name), linewidth=2, markersize=5,
               label=drawn(name))
        for name in fronts
    ]  # fmt: skip
    return [*handles, Line2D([], [], color=INK, linewidth=1, linestyle=":", label="as good as alone")]
