"""Which networks represent images alike? Heat maps of similarity, and the networks as points on a map."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from rep_kedro.reporting.style import (
    COLOUR_MAP,
    GRID,
    INK,
    MUTED,
    UNKNOWN,
    Palette,
    grid_of_panels,
    plot_note,
    shortened,
    start_figure,
    styled,
    written,
)
from rep_kedro.reporting.tables import (
    cluster_order,
    mean_matrix,
    objectives_in_order,
    palette_of,
    trait_of,
)
from rep_kedro.reporting.texts import figure_texts

MAPS_TITLE = figure_texts("figure_similarity")["title"]
POSITIONS_TITLE = figure_texts("figure_similarity_map")["title"]
MEAN_PANEL = "mean over stimulus sets"
MOST_LABELS = 40
N_COLUMNS = 2


def plot_similarity_maps(
    matrices: Mapping[str, pd.DataFrame], model_cards: pd.DataFrame, *, measure: str, n_panels: int = 5
) -> Figure:
    """Draw the similarity matrices as heat maps, networks in one order throughout.

    Args:
        matrices: Square frames labelled by network, by stimulus set.
        model_cards: Gives each network's objective.
        measure: Written to the colour bar.
        n_panels: At most so many stimulus sets are drawn beside their mean.

    Returns:
        One panel per stimulus set and one for the mean. Rows and columns stand in the order of
        average-linkage clustering of 1 - mean similarity; undefined entries are hatched.
    """
    if not matrices:
        return plot_note(MAPS_TITLE, f"no similarity matrices of the measure {measure!r}")
    return _plot_maps(matrices, model_cards, measure, n_panels)


@styled
def _plot_maps(
    matrices: Mapping[str, pd.DataFrame], model_cards: pd.DataFrame, measure: str, n_panels: int
) -> Figure:
    palette, objective = palette_of(model_cards), trait_of(model_cards, "objective")
    mean = mean_matrix(matrices)
    order = cluster_order(mean)
    panels = (
        {MEAN_PANEL: mean, **dict(list(matrices.items())[:n_panels])} if len(matrices) > 1 else dict(matrices)
    )
    n_rows = -(-len(panels) // N_COLUMNS)
    figure = start_figure(MAPS_TITLE, 1.0 + 4.15 * n_rows)
    axes = grid_of_panels(figure, len(panels), min(N_COLUMNS, len(panels)))
    limits = _colour_limits(panels.values())
    for index, (panel, (name, frame)) in enumerate(zip(axes, panels.items(), strict=True)):
        image = draw_map(panel, frame.loc[order, order], limits)
        _draw_strips(panel, [palette.colour(objective.get(model, UNKNOWN)) for model in order])
        _label_networks(panel, order, with_names=index % N_COLUMNS == 0)
        panel.set_title(shortened(name, 40))
    bar = figure.colorbar(
        image, ax=axes, shrink=0.6, aspect=30, label=f"similarity ({shortened(measure, 44)}), no unit"
    )
    bar.solids.set_rasterized(True)  # type: ignore[union-attr]
    bar.outline.set_visible(False)
    _add_strip_legend(figure, [objective.get(model, UNKNOWN) for model in order], palette, panels)
    return figure


def _colour_limits(frames: Iterable[pd.DataFrame]) -> tuple[float, float]:
    """From 0 to 1 as far as the values allow: the same colours in every panel and usually in every report."""
    values = np.concatenate([frame.to_numpy().ravel() for frame in frames])
    values = values[np.isfinite(values)]
    low = min(0.0, float(np.floor(values.min() * 10) / 10)) if values.size else 0.0
    high = max(1.0, float(np.ceil((values.max() - 1e-9) * 10) / 10)) if values.size else 1.0
    return low, high


def draw_map(axes: Axes, frame: pd.DataFrame, limits: tuple[float, float]) -> AxesImage:
    """Draw a square frame as coloured cells, undefined ones hatched; each cell is one pixel of an image."""
    n = len(frame)
    values = frame.to_numpy(dtype=np.float64)
    image = axes.imshow(
        np.ma.masked_invalid(values), vmin=limits[0], vmax=limits[1], cmap=colormaps[COLOUR_MAP],
        extent=(0, n, n, 0), interpolation="none",
    )  # fmt: skip
    for row, column in np.argwhere(~np.isfinite(values)):
        axes.add_patch(
            Rectangle((column, row), 1, 1, facecolor="#ffffff", edgecolor=MUTED, hatch="////", linewidth=0)
        )
    axes.set_aspect("equal")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    return image


def _draw_strips(axes: Axes, colours: list[str]) -> None:
    """Mark each network's objective by a coloured strip left of its row and above its column."""
    n = len(colours)
    width = max(0.55, n * 0.025)
    left = [Rectangle((-1.35 * width, index + 0.04), width, 0.92) for index in range(n)]
    above = [Rectangle((index + 0.04, -1.35 * width), 0.92, width) for index in range(n)]
    for strip in (left, above):
        axes.add_collection(PatchCollection(strip, facecolors=colours, edgecolors="none"))
    axes.set_xlim(-1.5 * width, n)
    axes.set_ylim(n, -1.5 * width)


def _label_networks(axes: Axes, order: list[str], *, with_names: bool) -> None:
    axes.set_xticks([])
    if not with_names or len(order) > MOST_LABELS:
        axes.set_yticks([])
        return
    axes.set_yticks(np.arange(len(order)) + 0.5, [shortened(model, 24) for model in order])
    axes.tick_params(axis="y", length=0, labelsize=8 if len(order) <= 24 else 5.5)


def _add_strip_legend(
    figure: Figure, objectives: list[str], palette: Palette, panels: Mapping[str, pd.DataFrame]
) -> None:
    handles = [
        Patch(color=palette.colour(name), label=written(name)) for name in objectives_in_order(objectives)
    ]
    if any(frame.isna().to_numpy().any() for frame in panels.values()):
        handles.append(Patch(facecolor="#ffffff", edgecolor=MUTED, hatch="////", label="undefined"))
    figure.legend(handles=handles, loc="outside lower left", ncols=min(6, len(handles)),
                  title="objective (strips)", alignment="left")  # fmt: skip


def plot_similarity_positions(
    matrices: Mapping[str, pd.DataFrame], model_cards: pd.DataFrame, *, measure: str, n_panels: int = 3
) -> Figure:
    """Draw the networks as points whose distances approximate 1 - similarity (classical scaling).

    Args:
        matrices: Square frames labelled by network, by stimulus set.
        model_cards: Gives objective and architecture of each network.
        measure: Named in the axis labels.
        n_panels: At most so many stimulus sets are drawn beside their mean.

    Returns:
        One panel per stimulus set and one for the mean; each turned to fit the first as well as it can.
    """
    networks = {name: frame for name, frame in matrices.items() if np.isfinite(frame.to_numpy()).all()}
    if not networks or len(next(iter(networks.values()))) < 3:
        return plot_note(POSITIONS_TITLE, f"fewer than three networks with defined similarities ({measure})")
    return _plot_positions(networks, model_cards, measure, n_panels)


@styled
def _plot_positions(
    matrices: Mapping[str, pd.DataFrame], model_cards: pd.DataFrame, measure: str, n_panels: int
) -> Figure:
    mean = mean_matrix(matrices)
    panels = (
        {MEAN_PANEL: mean, **dict(list(matrices.items())[:n_panels])} if len(matrices) > 1 else dict(matrices)
    )
    figure = start_figure(POSITIONS_TITLE, 3.9)
    axes = grid_of_panels(figure, len(panels), len(panels), sharex=True, sharey=True)
    first: np.ndarray | None = None
    for panel, (name, frame) in zip(axes, panels.items(), strict=True):
        positions, share = scale_to_plane(1.0 - frame.loc[mean.index, mean.index].to_numpy())
        positions = positions if first is None else turn_to_fit(positions, first)
        first = positions if first is None else first
        _draw_positions(panel, positions, list(mean.index), model_cards)
        panel.set_title(f"{shortened(name, 28)}\n{share:.0%} of the spread shown", fontsize=8.5)
        panel.set_xlabel("first axis (1 − similarity)")
    axes[0].set_ylabel("second axis (1 − similarity)")
    _add_position_legend(figure, model_cards, list(mean.index))
    return figure


def scale_to_plane(distances: np.ndarray) -> tuple[np.ndarray, float]:
    """Return positions in the plane whose distances approximate the given ones, by classical scaling.

    Args:
        distances: Symmetric, shape (n, n), zero diagonal.

    Returns:
        Positions, shape (n, 2), centred; and the share of the positive spread that two axes show, in [0, 1].

    Source: Torgerson 1952, doi:10.1007/BF02288916.

    Example:
        >>> import numpy as np
        >>> positions, share = scale_to_plane(np.array([[0.0, 3, 4], [3, 0, 5], [4, 5, 0]]))
        >>> round(float(np.linalg.norm(positions[1] - positions[2])), 6), round(share, 6)
        (5.0, 1.0)
    """
    squared = distances**2
    centred = -0.5 * (squared - squared.mean(0) - squared.mean(1)[:, None] + squared.mean())
    eigenvalues, vectors = np.linalg.eigh((centred + centred.T) / 2)
    top = np.argsort(eigenvalues)[::-1][:2]
    positions = vectors[:, top] * np.sqrt(np.maximum(eigenvalues[top], 0.0))
    largest = np.abs(positions).argmax(axis=0)
    signs = np.where(positions[largest, range(2)] < 0, -1.0, 1.0)  # eigenvectors have no sign of their own
    positive = np.maximum(eigenvalues, 0.0)
    share = float(positive[top].sum() / positive.sum()) if positive.sum() > 0 else float("nan")
    return positions * signs, share


def turn_to_fit(positions: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the positions turned and mirrored, not stretched, to lie as near to the target as they can."""
    left, _, right = np.linalg.svd(positions.T @ target)
    return np.asarray(positions @ left @ right)


def _draw_positions(axes: Axes, positions: np.ndarray, models: list[str], model_cards: pd.DataFrame) -> None:
    palette = palette_of(model_cards)
    objective, architecture = trait_of(model_cards, "objective"), trait_of(model_cards, "architecture")
    first = filled_architecture(model_cards)
    kinds = [(objective.get(model, UNKNOWN), architecture.get(model, UNKNOWN)) for model in models]
    for kind in dict.fromkeys(kinds):
        of_kind = positions[[index for index, other in enumerate(kinds) if other == kind]]
        colour, is_filled = palette.colour(kind[0]), kind[1] == first
        axes.plot(*of_kind.T, color=colour, linewidth=1, alpha=0.6)
        axes.plot(
            *of_kind.T, linestyle="none", marker=palette.marker(kind[0]), markersize=7,
            markeredgecolor=colour,
            markerfacecolor=colour if is_filled else "#ffffff", markeredgewidth=1.4,
        )  # fmt: skip
    axes.set_aspect("equal")
    axes.axhline(0, color=GRID, linewidth=0.8, zorder=0)
    axes.axvline(0, color=GRID, linewidth=0.8, zorder=0)


def filled_architecture(model_cards: pd.DataFrame) -> str:
    """Return the architecture whose networks are drawn as filled markers: the first by name."""
    names = sorted(set(trait_of(model_cards, "architecture").values()))
    return names[0] if names else UNKNOWN


def _add_position_legend(figure: Figure, model_cards: pd.DataFrame, models: list[str]) -> None:
    objective = trait_of(model_cards, "objective")
    handles = palette_of(model_cards).legend_handles(
        objectives_in_order(objective.get(model, UNKNOWN) for model in models)
    )
    handles += architecture_handles(model_cards)
    figure.legend(handles=handles, loc="outside lower left", ncols=len(handles))


def architecture_handles(model_cards: pd.DataFrame) -> list[Line2D]:
    """Return legend entries that say which architecture is filled and which are hollow."""
    first = filled_architecture(model_cards)
    others = sorted(set(trait_of(model_cards, "architecture").values()) - {first})
    named = [(first, INK), (", ".join(written(name) for name in others), "#ffffff")] if others else []
    return [
        Line2D([], [], linestyle="none", marker="o", markersize=7, markerfacecolor=face, markeredgecolor=INK,
               label=shortened(written(name), 40))
        for name, face in named
    ]  # fmt: skip
