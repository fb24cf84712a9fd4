"""How maps compare: accuracy along the layers, CKA against function, and grids of layers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D

from rep_kedro.datasets.marks import describe_points
from rep_kedro.reporting.names import drawn, shortened, shortened_layer
from rep_kedro.reporting.stitching.rows import plain
from rep_kedro.reporting.style import (
    FURTHER_COLOURS,
    GRID,
    INK,
    MUTED,
    add_legend,
    label_layers,
    plot_note,
    start_panels,
    styled,
    title_of_part,
)
from rep_kedro.reporting.tables import chosen_stimulus_set, in_order, layers_in_order, with_traits
from rep_kedro.reporting.texts import figure_texts

MAPS_TITLE = figure_texts("stitching_maps")["title"]
CKA_TITLE = figure_texts("stitching_cka")["title"]
GRID_TITLE = figure_texts("stitching_grid")["title"]
COLOURS = (INK, *FURTHER_COLOURS)
MARKERS = "osD^vP*"
MOST_PANELS, MOST_MAPS, MOST_LAYERS = 9, 14, 14
_COLOUR_MAP = "viridis"
_DARK = 0.55


def plot_stitching_maps(
    stitching_results: pd.DataFrame, model_cards: pd.DataFrame, *, stimulus_set: str | None
) -> Figure:
    """Draw relative accuracy along the layers, a line for each map.

    Returns:
        A panel per architecture of the end network. Lines: mean over pairs of networks and seeds; bars: one
        standard deviation over them.
    """
    rows = _shown(stitching_results, stimulus_set).dropna(subset=["relative_accuracy"])
    rows = plain(rows)
    if rows["map"].nunique() < 2:
        return plot_note(MAPS_TITLE, "one map was used; stitching.maps names more")
    return _plot_maps(with_traits(rows, model_cards, "end_model"))


def plot_stitching_cka(
    stitching_results: pd.DataFrame, model_cards: pd.DataFrame, *, stimulus_set: str | None
) -> Figure:
    """Draw CKA at the joint against the cross-entropy of the outputs, a mark for each stitch."""
    rows = _shown(stitching_results, stimulus_set).dropna(subset=["cka", "cross_entropy"])
    if not len(rows):
        return plot_note(CKA_TITLE, "no CKA was computed at the joints; add cka to stitching.measures")
    return _plot_cka(with_traits(rows, model_cards, "end_model"))


def plot_stitching_grid(
    stitching_results: pd.DataFrame, model_cards: pd.DataFrame, *, stimulus_set: str | None
) -> Figure:
    """Draw relative accuracy for each layer of the front with each layer of the end, a panel per map.

    Returns:
        Cells: mean over pairs of networks and seeds of two architectures. Maps that join only layers of one
        name have no panel.
    """
    rows = _shown(stitching_results, stimulus_set).dropna(subset=["relative_accuracy"])
    rows = rows[(rows["control"] == "none") & ~rows["flatten"].astype(bool)]
    fronts = with_traits(rows, model_cards, "front_model")["architecture"]
    ends = with_traits(rows, model_cards, "end_model")["architecture"]
    kinds = [f"{drawn(a)} → {drawn(b)}" for a, b in zip(fronts, ends, strict=True)]
    rows = rows.assign(kind=kinds)
    is_crossed = rows["front_layer"] != rows["end_layer"]
    rows = rows[
        is_crossed.groupby([rows["kind"], rows["map"]]).transform("any")
    ]  # the others have a diagonal
    if not len(rows):
        return plot_note(GRID_TITLE, "no layers were joined with layers of other names; see stitching.joints")
    return _plot_grid(rows)


def _shown(results: pd.DataFrame, stimulus_set: str | None) -> pd.DataFrame:
    return results[results["stimulus_set"] == chosen_stimulus_set(stimulus_set, results)]


@styled
def _plot_maps(rows: pd.DataFrame) -> Figure:
    kinds, maps = in_order(rows["architecture"])[:MOST_PANELS], _maps_of(rows)
    n_columns, title = min(3, len(kinds)), _title(MAPS_TITLE, rows, kinds)
    figure, panels = start_panels(title, len(kinds), n_columns, row_in=3.0, around_in=1.3, sharey=True)
    for index, (panel, kind) in enumerate(zip(panels, kinds, strict=True)):
        shown = rows[rows["architecture"] == kind]
        layers = layers_in_order(shown)
        panel.axhline(1.0, color=MUTED, linewidth=1, linestyle=":")
        for place, name in enumerate(maps):
            _draw_map(panel, shown[shown["map"] == name], layers, place, len(maps))
        panel.set_title(drawn(kind))
        label_layers(panel, layers, 10)
        if index % n_columns == 0:
            panel.set_ylabel("relative accuracy\n(stitched / alone)")
    add_legend(figure, _handles(maps), 5, title="map", alignment="left")
    return figure


def _draw_map(axes: Axes, rows: pd.DataFrame, layers: Sequence[str], place: int, n_maps: int) -> None:
    if not len(rows):
        return
    found = (
        rows.groupby("layer")["relative_accuracy"]
        .agg(["mean", "std", "count"])
        .reindex(list(layers))
        .dropna(subset=["mean"])
    )
    shift = 0.5 * (place - (n_maps - 1) / 2) / max(n_maps, 4)
    x = np.array([layers.index(layer) for layer in found.index]) + shift
    axes.errorbar(
        x, found["mean"], yerr=found["std"].fillna(0.0), color=_colour(place), marker=_marker(place),
        markersize=4, linewidth=1.4, elinewidth=0.8,
    )  # fmt: skip
    columns: dict[str, Any] = {
        "map": list(rows["map"].head(1)) * len(found),
        "layer": list(found.index),
        "mean relative accuracy": found["mean"],
        "deviation": found["std"],
        "stitches": found["count"].astype(float),
    }
    describe_points(axes, x, found["mean"], columns)


@styled
def _plot_cka(rows: pd.DataFrame) -> Figure:
    kinds, maps = in_order(rows["architecture"])[:MOST_PANELS], _maps_of(rows)
    n_columns, title = min(3, len(kinds)), _title(CKA_TITLE, rows, kinds)
    figure, panels = start_panels(title, len(kinds), n_columns, row_in=3.2, around_in=1.3)
    for index, (panel, kind) in enumerate(zip(panels, kinds, strict=True)):
        shown = rows[rows["architecture"] == kind]
        for place, name in enumerate(maps):
            of_map = shown[shown["map"] == name]
            panel.scatter(
                of_map["cka"], of_map["cross_entropy"], s=16, color=_colour(place), marker=_marker(place),
                alpha=0.75, linewidths=0, rasterized=len(rows) > 2000,
            )  # fmt: skip
        columns = {
            name.replace("_", " "): shown[name].astype(str)
            for name in ("map", "front_model", "end_model", "front_layer", "end_layer", "control")
        }
        columns |= {"CKA": shown["cka"], "cross-entropy": shown["cross_entropy"]}
        describe_points(panel, shown["cka"], shown["cross_entropy"], columns)
        panel.set_title(drawn(kind))
        panel.set_xlabel("CKA of stitched with own activations")
        if index % n_columns == 0:
            panel.set_ylabel("cross-entropy of outputs (nats)")
    add_legend(figure, _handles(maps, line=False), 5, title="map", alignment="left")
    return figure


@styled
def _plot_grid(rows: pd.DataFrame) -> Figure:
    kinds_and_maps = list(dict.fromkeys(zip(rows["kind"], rows["map"], strict=True)))
    panels_of = kinds_and_maps[:MOST_PANELS]
    title = title_of_part(GRID_TITLE, len(panels_of), len(kinds_and_maps), "panels")
    figure, panels = start_panels(title, len(panels_of), min(3, len(panels_of)), row_in=3.2, around_in=0.8)
    highest = max(1.0, float(rows["relative_accuracy"].max()))
    for panel, (kind, name) in zip(panels, panels_of, strict=True):
        shown = rows[(rows["kind"] == kind) & (rows["map"] == name)]
        image = _draw_cells(panel, shown, highest)
        whole = f"{kind}: {name}"
        panel.set_title(whole if len(whole) <= 26 else f"{shortened(kind, 30)}:\n{shortened(name, 30)}")
        figure.colorbar(image, ax=panel, fraction=0.05)
    return figure


def _draw_cells(axes: Axes, rows: pd.DataFrame, highest: float) -> AxesImage:
    fronts = layers_in_order(rows.assign(layer=rows["front_layer"], depth=rows["front_depth"]))
    ends = layers_in_order(rows.assign(layer=rows["end_layer"]))
    means = rows.pivot_table(index="front_layer", columns="end_layer", values="relative_accuracy")
    means = means.reindex(index=fronts, columns=ends)
    image = axes.imshow(
        means.to_numpy(), cmap=colormaps[_COLOUR_MAP].with_extremes(bad=GRID), vmin=0.0, vmax=highest,
        interpolation="none", aspect="auto",
    )  # fmt: skip
    axes.grid(visible=False)
    if len(fronts) * len(ends) <= 100:
        for (i, j), value in np.ndenumerate(means.to_numpy()):
            if not np.isnan(value):
                colour = "white" if value < _DARK * highest else INK
                axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=6, color=colour)
    label_layers(axes, ends, MOST_LAYERS)
    step = max(1, -(-len(fronts) // MOST_LAYERS))
    axes.set_yticks(range(0, len(fronts), step), [shortened_layer(x) for x in fronts[::step]], fontsize=7)
    axes.set_xlabel("the end goes on after", fontsize=8)
    axes.set_ylabel("the front stops after", fontsize=8)
    places = [(i, j) for i in range(len(fronts)) for j in range(len(ends))]
    columns: dict[str, Any] = {
        "front layer": [fronts[i] for i, _ in places],
        "end layer": [ends[j] for _, j in places],
        "relative accuracy": means.to_numpy().ravel().tolist(),
    }
    describe_points(axes, [j for _, j in places], [i for i, _ in places], columns)
    return image


def _maps_of(rows: pd.DataFrame) -> list[str]:
    return sorted(set(rows["map"]), key=lambda name: (name != "ps_inv", name))[:MOST_MAPS]


def _title(title: str, rows: pd.DataFrame, kinds: Sequence[str]) -> str:
    n_maps, n_kinds = rows["map"].nunique(), rows["architecture"].nunique()
    left_out = [f"{MOST_MAPS} of {n_maps} maps"] if n_maps > MOST_MAPS else []
    left_out += [f"{len(kinds)} of {n_kinds} architectures"] if n_kinds > len(kinds) else []
    return f"{title} ({', '.join(left_out)})" if left_out else title


def _handles(maps: Sequence[str], *, line: bool = True) -> list[Line2D]:
    return [
        Line2D([], [], color=_colour(place), marker=_marker(place), markersize=5,
               linestyle="-" if line else "", label=shortened(drawn(name), 24))
        for place, name in enumerate(maps)
    ]  # fmt: skip


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]


def _marker(place: int) -> str:
    return MARKERS[place // len(COLOURS) % len(MARKERS) + place % len(COLOURS) % 3]
