"""Which networks represent images alike? Heat maps of similarity, and the networks as points on a map."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rep_kedro.reporting.figures.heat_maps import (
    add_strip_legend,
    colour_limits,
    draw_map,
    draw_strips,
    label_networks,
)
from rep_kedro.reporting.style import (
    GRID,
    INK,
    UNKNOWN,
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
    limits = colour_limits(panels.values())
    for index, (panel, (name, frame)) in enumerate(zip(axes, panels.items(), strict=True)):
        image = draw_map(panel, frame.loc[order, order], limits)
        draw_strips(panel, [palette.colour(objective.get(model, UNKNOWN)) for model in order])
        label_networks(panel, order, with_names=index % N_COLUMNS == 0)
        panel.set_title(shortened(name, 40))
    bar = figure.colorbar(
        image, ax=axes, shrink=0.6, aspect=30, label=f"similarity ({shortened(measure, 44)}), no unit"
    )
    bar.solids.set_rasterized(True)  # type: ignore[union-attr]
    bar.outline.set_visible(False)
    has_undefined = any(frame.isna().to_numpy().any() for frame in panels.values())
    objectives = [objective.get(model, UNKNOWN) for model in order]
    add_strip_legend(figure, objectives, palette, has_undefined=has_undefined)
    return figure


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
