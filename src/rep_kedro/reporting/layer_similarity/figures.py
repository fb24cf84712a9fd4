"""How similar is every layer to every layer of the same or other networks? Heat maps in network order."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch, Rectangle

from rep_kedro.datasets import MemberKey
from rep_kedro.datasets.marks import describe_map
from rep_kedro.reporting.names import drawn, shortened
from rep_kedro.reporting.similarity.heat_maps import colour_limits
from rep_kedro.reporting.style import (
    COLOUR_MAP,
    CORNER,
    GRID,
    PAPER,
    UNKNOWN,
    add_legend,
    grid_of_panels,
    make_square,
    plot_note,
    start_figure,
    styled,
    title_of_part,
)
from rep_kedro.reporting.tables import (
    objectives_in_order,
    palette_of,
    trait_of,
)
from rep_kedro.reporting.texts import figure_texts

if TYPE_CHECKING:
    from rep_kedro.datasets import MatrixHandle

MAPS_TITLE = figure_texts("layer_similarity")["title"]
MOST_LAYER_NAMES, MOST_NETWORK_NAMES, MOST_SLANTED, MOST_LINES = 40, 24, 8, 60
MOST_NETWORK_NAMES_ALONE = 40  # where one map has the whole width
MOST_DESCRIBED = 150  # layers, of which the page has a value for each pair


def plot_layer_similarity(
    layer_similarity_matrices: "Mapping[str, MatrixHandle]",
    model_cards: pd.DataFrame,
    *,
    measure: str,
    n_heat_maps: int,
) -> Figure:
    """Draw every layer against every layer as heat maps, networks and layers in their order.

    Returns:
        One panel per stimulus set: blocks on the diagonal are layers within a network, the others layers of
        two networks. White lines part networks; grey: undefined or not compared.
    """
    keys = {MemberKey.parse(key): handle for key, handle in layer_similarity_matrices.items()}
    chosen = {key.stimulus_set: keys[key] for key in sorted(keys) if key.name == measure}
    if not chosen:
        return plot_note(MAPS_TITLE, f"no layers were compared under the measure {measure!r}")
    return _plot_maps(chosen, model_cards, measure, n_heat_maps)


@styled
def _plot_maps(
    handles: "Mapping[str, MatrixHandle]", model_cards: pd.DataFrame, measure: str, n_panels: int
) -> Figure:
    palette, objective = palette_of(model_cards), trait_of(model_cards, "objective")
    shown = list(handles)[:n_panels]
    frames = {name: pd.DataFrame(handles[name].matrix().values) for name in shown}
    n_columns = 1 if len(shown) == 1 else 2
    title = title_of_part(MAPS_TITLE, len(shown), len(handles), "stimulus sets")
    side = 8.4 if n_columns == 1 else 4.6
    figure = start_figure(title, 1.1 + side * -(-len(shown) // n_columns))
    axes = grid_of_panels(figure, len(shown), n_columns)
    limits, is_grey, objectives = colour_limits(frames.values()), False, list[str]()
    for panel, (name, frame) in zip(axes, frames.items(), strict=True):
        models, layers = (list(handles[name].meta[part]) for part in ("models", "layers"))
        image = _draw_layers(panel, frame.to_numpy(dtype=np.float64), limits)
        if len(layers) <= MOST_DESCRIBED:
            labels = [f"{model}/{layer}" for model, layer in zip(models, layers, strict=True)]
            described = pd.DataFrame(frame.to_numpy(), labels, labels)
            names = ("layer of a network", "other layer")
            describe_map(panel, described, "similarity", names, stimulus_set=name, measure=measure)
        _part_networks(panel, models, layers, is_alone=n_columns == 1)
        _draw_strips(panel, models, [palette.colour(objective.get(model, UNKNOWN)) for model in models])
        panel.set_title(shortened(name, 40))
        is_grey |= bool(frame.isna().to_numpy().any())
        objectives += [objective.get(model, UNKNOWN) for model in models]
    bar = figure.colorbar(
        image, ax=axes, shrink=0.6, aspect=30, panchor=CORNER,
        label=f"similarity ({shortened(measure, 44)}), no unit",
    )  # fmt: skip
    bar.solids.set_rasterized(True)  # type: ignore[union-attr]
    bar.outline.set_visible(False)
    strips = [Patch(color=palette.colour(n), label=drawn(n)) for n in objectives_in_order(objectives)]
    grey = [Patch(color=GRID, label="undefined or not compared")] if is_grey else []
    add_legend(figure, [*strips, *grey], 6, title="objective (strips)", alignment="left")
    return figure


def _draw_layers(axes: Axes, values: np.ndarray, limits: tuple[float, float]) -> AxesImage:
    """Draw a matrix over layers; each cell is one pixel of an image."""
    n = len(values)
    image = axes.imshow(
        np.ma.masked_invalid(values), vmin=limits[0], vmax=limits[1], extent=(0, n, n, 0),
        cmap=colormaps[COLOUR_MAP].with_extremes(bad=GRID), interpolation="none",
    )  # fmt: skip
    make_square(axes)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    return image


def _part_networks(axes: Axes, models: Sequence[str], layers: Sequence[str], *, is_alone: bool) -> None:
    """Draw lines between networks and name them below; name layers, or else networks, on the left."""
    starts, ends = _blocks_of(models)
    width = 1.2 if len(starts) <= MOST_SLANTED else 0.6 if len(starts) <= MOST_NETWORK_NAMES else 0.2
    for edge in starts[1:] if len(starts) <= MOST_LINES else []:
        axes.plot([edge, edge], [0, len(models)], color=PAPER, linewidth=width)
        axes.plot([0, len(models)], [edge, edge], color=PAPER, linewidth=width)
    axes.tick_params(length=0)
    axes.set_xticks([])
    axes.set_yticks([])
    if len(starts) > (MOST_NETWORK_NAMES_ALONE if is_alone else MOST_NETWORK_NAMES):
        return
    centres = [(start + end) / 2 for start, end in zip(starts, ends, strict=True)]
    names = [shortened(models[start], 24) for start in starts]
    rotation = 35 if len(names) <= MOST_SLANTED else 90
    axes.set_xticks(
        centres,
        names,
        rotation=rotation,
        ha="right",
        va="center" if rotation == 90 else "top",
        rotation_mode="anchor",
        fontsize=7.5,
    )
    if len(layers) <= (MOST_LAYER_NAMES if is_alone else MOST_LAYER_NAMES / 2):
        axes.set_yticks(
            np.arange(len(layers)) + 0.5, [shortened(layer, 18) for layer in layers], fontsize=6.5
        )
    else:
        axes.set_yticks(centres, names, fontsize=7.5)


def _draw_strips(axes: Axes, models: Sequence[str], colours: Sequence[str]) -> None:
    """Mark each network's objective by a coloured strip left of its rows and above its columns."""
    n, width = len(models), max(0.3, len(models) * 0.025)
    starts, ends = _blocks_of(models)
    gap = 0.003 * n if len(starts) <= MOST_NETWORK_NAMES else 0.0
    sides = [(start + gap, end - start - 2 * gap) for start, end in zip(starts, ends, strict=True)]
    left = [Rectangle((-1.35 * width, place), width, length) for place, length in sides]
    above = [Rectangle((place, -1.35 * width), length, width) for place, length in sides]
    for strip in (left, above):
        own = [colours[start] for start in starts]
        axes.add_collection(PatchCollection(strip, facecolors=own, edgecolors="none"))
    axes.set_xlim(-1.5 * width, n)
    axes.set_ylim(n, -1.5 * width)


def _blocks_of(models: Sequence[str]) -> tuple[list[int], list[int]]:
    """Return where the layers of each network start and end."""
    starts = [i for i, model in enumerate(models) if i == 0 or models[i - 1] != model]
    return starts, [*starts[1:], len(models)]
