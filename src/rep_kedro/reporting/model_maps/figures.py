"""Which networks are close together, and in which groups? Maps by several methods, with their clusters."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rep_kedro.datasets.marks import describe_points
from rep_kedro.reporting.model_maps.clusters import MEAN, choose_clusters
from rep_kedro.reporting.names import drawn, shortened
from rep_kedro.reporting.style import (
    INK,
    MUTED,
    UNKNOWN,
    WIDTH_IN,
    add_legend,
    make_square,
    names_in_lines,
    plot_note,
    start_figure,
    styled,
    title_with_sets,
)
from rep_kedro.reporting.tables import in_order, network_columns, objectives_in_order, palette_of, with_traits
from rep_kedro.reporting.texts import figure_texts

TITLE = figure_texts("model_maps")["title"]
N_SETS = 3
METHODS = {
    "tsne": "t-SNE: neighbours are similar",
    "mds": "scaling: distance is dissimilarity",
}
MARKERS = ("o", "^", "s", "D", "v", "P", "X", "<", ">", "h", "p", "d")
OTHER_MARKER = "*"
_SMALL = "*Pd"  # markers that look smaller than the others
FEW_NETWORKS = 24
_ASIDE = 0.13  # from a network to the number of a cluster of its own, in half panels, towards the middle


def plot_model_maps(
    model_positions: pd.DataFrame, model_clusters: pd.DataFrame, model_cards: pd.DataFrame, *, measure: str
) -> Figure:
    """Draw the networks' places: one row per method, one column per stimulus set behind their mean.

    Args:
        model_positions: The contract's table, rows of the measure.
        model_clusters: The contract's table, rows of the measure; of several numbers of clusters the one that
            ``choose_clusters`` names is drawn.
        model_cards: Gives objective (colour) and architecture (marker) of each network.
        measure: Named in the title of the legend.

    Returns:
        Panels without units for t-SNE; with one scale for all panels of scaling, in units of dissimilarity.
    """
    placed = model_positions.dropna(subset=["x", "y"])
    if not len(placed):
        reasons = in_order(model_positions["reason"].dropna())
        why = f": {shortened(reasons[0], 80)}" if reasons and reasons[0] else ""
        return plot_note(TITLE, f"no network has a place by the measure {measure}{why}")
    methods = [name for name in METHODS if (placed["method"] == name).any()]
    sets = _chosen_sets(placed)
    return _plot(placed, choose_clusters(model_clusters), model_cards, measure, methods, sets)


def _chosen_sets(placed: pd.DataFrame) -> list[str]:
    """Return the mean and the first stimulus sets; the mean alone is drawn of a single set."""
    others = [name for name in in_order(placed["stimulus_set"]) if name != MEAN]
    return others if len(others) < 2 else [MEAN, *others[:N_SETS]]


@styled
def _plot(
    placed: pd.DataFrame,
    clusters: pd.DataFrame,
    model_cards: pd.DataFrame,
    measure: str,
    methods: Sequence[str],
    sets: Sequence[str],
) -> Figure:
    n_columns = max(3, len(sets))  # a single panel does not fill the page
    side = (WIDTH_IN - 0.7) / n_columns - 0.35  # of a panel, in inches
    n_sets = len(set(placed["stimulus_set"]) - {MEAN})
    figure = start_figure(title_with_sets(TITLE, N_SETS, n_sets), 1.25 + len(methods) * (0.55 + side))
    grid = figure.subplots(len(methods), n_columns, squeeze=False)
    for row, method in zip(grid, methods, strict=True):
        of_method = placed[placed["method"] == method]
        shared = max(_half_width(of_method[of_method["stimulus_set"] == name]) for name in sets)
        for spare in row[len(sets) :]:
            spare.set_axis_off()
        for panel, name in zip(row, sets, strict=False):
            points = of_method[of_method["stimulus_set"] == name]
            if not len(points):
                panel.set_axis_off()
                continue
            half = (_half_width(points) if method == "tsne" else shared) or 1.0
            _frame(panel, points, half, has_scale=method != "tsne")
            _draw_clusters(panel, points, clusters[clusters["stimulus_set"] == name], half)
            _draw_networks(panel, points, model_cards)
            own = clusters[clusters["stimulus_set"] == name].set_index("model")["cluster"]
            columns: dict[str, Any] = network_columns(points["model"], model_cards)
            columns["cluster"] = [float(own.get(model, np.nan)) + 1 for model in points["model"]]
            describe_points(panel, points["x"], points["y"], columns, stimulus_set=name, method=method)
            panel.set_title(_title_of(name, method, points), fontsize=8.5)
        row[0].set_ylabel(METHODS[method])
    _add_legend(figure, placed, clusters, model_cards, measure)
    return figure


def _half_width(points: pd.DataFrame) -> float:
    """Return half the side of the square that holds the points; 0 where they coincide."""
    if not len(points):
        return 0.0
    return float(np.ptp(points[["x", "y"]].to_numpy(), axis=0).max()) / 2 * 1.16


def _frame(panel: Axes, points: pd.DataFrame, half: float, *, has_scale: bool) -> None:
    for column, limit in (("x", panel.set_xlim), ("y", panel.set_ylim)):
        middle = float(points[column].max() + points[column].min()) / 2
        limit(middle - half, middle + half)
    make_square(panel)
    panel.tick_params(labelsize=7)
    if not has_scale:
        panel.set_xticks([])
        panel.set_yticks([])
    for spine in panel.spines.values():
        spine.set_visible(True)


def _title_of(name: str, method: str, points: pd.DataFrame) -> str:
    shown = "mean over stimulus sets" if name == MEAN else shortened(name, 28)
    first = points.iloc[0]
    if method == "tsne":
        return f"{shown}\ndivergence {first['divergence']:.2f} nat, n = {len(points)}"
    return f"{shown}\nstress {first['stress']:.2f}, n = {len(points)}"


def _draw_clusters(panel: Axes, points: pd.DataFrame, clusters: pd.DataFrame, half: float) -> None:
    """Join the networks of each cluster to its number in their middle, or next to the only network."""
    place = points.set_index("model")[["x", "y"]]
    centre = (place.max() + place.min()).to_numpy() / 2
    for cluster in sorted(clusters["cluster"].unique().tolist()):
        names = [model for model in clusters[clusters["cluster"] == cluster]["model"] if model in place.index]
        if not names:
            continue
        own = place.loc[names].to_numpy()
        middle = own.mean(0)
        if len(own) == 1:
            middle = middle + _ASIDE * half * np.where(middle > centre, -0.7, 0.7)
        rays = np.stack([own, np.broadcast_to(middle, own.shape)], axis=1)
        panel.add_collection(LineCollection(list(rays), colors=MUTED, linewidths=0.7, alpha=0.7, zorder=1.5))
        panel.annotate(
            str(cluster + 1), middle, fontsize=7, color=INK, ha="center", va="center", zorder=4,
            bbox={"boxstyle": "circle,pad=0.15", "facecolor": "#ffffff", "edgecolor": MUTED,
                  "linewidth": 0.7},
        )  # fmt: skip


def _draw_networks(panel: Axes, points: pd.DataFrame, model_cards: pd.DataFrame) -> None:
    palette, markers = palette_of(model_cards), _markers_of(model_cards)
    size = 7 if len(points) <= FEW_NETWORKS else 5
    known = with_traits(points, model_cards)
    for (objective, architecture), part in known.groupby(["objective", "architecture"], sort=True):
        marker = markers.get(str(architecture), OTHER_MARKER)
        panel.plot(
            part["x"], part["y"], linestyle="none", marker=marker, markersize=size + 2 * (marker in _SMALL),
            color=palette.colour(str(objective)), markeredgecolor="#ffffff", markeredgewidth=0.3, alpha=0.9,
        )  # fmt: skip


def _markers_of(model_cards: pd.DataFrame) -> dict[str, str]:
    """Give the most frequent architectures a marker each; further ones share a star."""
    counts = model_cards["architecture"].dropna().astype(str).value_counts()
    frequent = sorted(counts.index, key=lambda name: (-counts[name], name))[: len(MARKERS)]
    return dict(zip(sorted(frequent), MARKERS, strict=False))


def _add_legend(
    figure: Figure, placed: pd.DataFrame, clusters: pd.DataFrame, model_cards: pd.DataFrame, measure: str
) -> None:
    shown = with_traits(placed, model_cards)
    palette, markers = palette_of(model_cards), _markers_of(model_cards)
    handles = [
        _mark("o", palette.colour(name), drawn(name)) for name in objectives_in_order(shown["objective"])
    ]
    architectures = sorted(set(shown["architecture"]) - {UNKNOWN})
    handles += [_mark(markers[name], MUTED, drawn(name)) for name in architectures if name in markers]
    if others := [name for name in architectures if name not in markers]:
        handles.append(_mark(OTHER_MARKER, MUTED, names_in_lines(others, n_characters=60)))
    if len(clusters):
        n_clusters = int(clusters["n_clusters"].iloc[0])
        handles.append(
            Line2D(
                [],
                [],
                color=MUTED,
                linewidth=0.7,
                label=f"to the number of one of {n_clusters} clusters, numbered separately per column",
            )
        )
    add_legend(
        figure, handles, 7, alignment="left",
        title=f"colour: objective; marker: architecture; similarity by {shortened(measure, 44)}",
    )  # fmt: skip


def _mark(marker: str, colour: str, label: str) -> Line2D:
    return Line2D([], [], linestyle="none", marker=marker, color=colour, markersize=7, label=label)
