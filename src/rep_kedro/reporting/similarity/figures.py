"""Which networks represent images similarly? Heat maps of similarity, and the networks as points on a map."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rep_kedro.datasets import MatrixHandle
from rep_kedro.datasets.marks import describe_map, describe_points
from rep_kedro.reporting.names import shortened
from rep_kedro.reporting.similarity.heat_maps import (
    add_strip_legend,
    colour_limits,
    draw_map,
    draw_strips,
    label_networks,
)
from rep_kedro.reporting.style import (
    CORNER,
    GRID,
    INK,
    UNKNOWN,
    add_legend,
    grid_of_panels,
    make_square,
    names_in_lines,
    plot_note,
    start_figure,
    start_panels,
    styled,
    title_with_sets,
)
from rep_kedro.reporting.tables import (
    cluster_order,
    in_order,
    matrices_of,
    mean_matrix,
    network_columns,
    objectives_in_order,
    palette_of,
    trait_of,
)
from rep_kedro.reporting.texts import figure_texts

MAPS_TITLE = figure_texts("similarity")["title"]
POSITIONS_TITLE = figure_texts("similarity_map")["title"]
MEAN, MEAN_PANEL = "mean", "mean over stimulus sets"
FEW_PANELS = 4  # in two columns; more are drawn in three
AROUND_IN = 1.0  # title and legend


def plot_similarity(
    similarity_matrices: Mapping[str, MatrixHandle],
    model_cards: pd.DataFrame,
    *,
    measure: str,
    n_heat_maps: int,
) -> Figure:
    """Draw the stored similarity matrices of one measure; see :func:`plot_similarity_maps`."""
    matrices = matrices_of(similarity_matrices, measure)
    return plot_similarity_maps(matrices, model_cards, measure=measure, n_panels=n_heat_maps)


def plot_similarity_maps(
    matrices: Mapping[str, pd.DataFrame], model_cards: pd.DataFrame, *, measure: str, n_panels: int = 5
) -> Figure:
    """Draw the similarity matrices as heat maps, networks in one order throughout.

    Returns:
        One panel per stimulus set and one for the mean. Rows and columns are in the order of
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
    n_columns = min(len(panels), 2 if len(panels) <= FEW_PANELS else 3)
    title, row_in = title_with_sets(MAPS_TITLE, n_panels, len(matrices)), 4.15 if n_columns < 3 else 3.2
    figure, axes = start_panels(title, len(panels), n_columns, row_in=row_in, around_in=AROUND_IN)
    limits = colour_limits(panels.values())
    for index, (panel, (name, frame)) in enumerate(zip(axes, panels.items(), strict=True)):
        shown = frame.loc[order, order]
        image = draw_map(panel, shown, limits)
        describe_map(panel, shown, "similarity", stimulus_set=name, measure=measure)
        draw_strips(panel, [palette.colour(objective.get(model, UNKNOWN)) for model in order])
        label_networks(panel, order, side_in=row_in - 0.5, with_names=index % n_columns == 0)
        panel.set_title(shortened(name, 40))
    bar = figure.colorbar(
        image, ax=axes, shrink=0.6, aspect=30, panchor=CORNER,
        label=f"similarity ({shortened(measure, 44)}), no unit",
    )  # fmt: skip
    bar.solids.set_rasterized(True)  # type: ignore[union-attr]
    bar.outline.set_visible(False)
    has_undefined = any(frame.isna().to_numpy().any() for frame in panels.values())
    objectives = [objective.get(model, UNKNOWN) for model in order]
    add_strip_legend(figure, objectives, palette, has_undefined=has_undefined)
    return figure


def plot_similarity_positions(
    model_positions: pd.DataFrame, model_cards: pd.DataFrame, *, measure: str, n_panels: int = 3
) -> Figure:
    """Draw the networks as points whose distances approximate dissimilarity, by multidimensional scaling.

    Returns:
        One panel per stimulus set and one for the mean, all with one scale.
    """
    is_wanted = (model_positions["measure"] == measure) & (model_positions["method"] == "mds")
    placed = model_positions[is_wanted].dropna(subset=["x", "y"])
    if not len(placed):
        reasons = [reason for reason in in_order(model_positions[is_wanted]["reason"].dropna()) if reason]
        why = reasons[0] if reasons else "model_maps.methods has no mds, or model_maps.measures not this one"
        return plot_note(POSITIONS_TITLE, f"no map of the measure {measure}: {shortened(why, 90)}")
    return _plot_positions(placed, model_cards, measure, n_panels)


@styled
def _plot_positions(placed: pd.DataFrame, model_cards: pd.DataFrame, measure: str, n_panels: int) -> Figure:
    others = [name for name in in_order(placed["stimulus_set"]) if name != MEAN]
    panels = [MEAN, *others[:n_panels]] if len(others) > 1 else others or [MEAN]
    figure = start_figure(title_with_sets(POSITIONS_TITLE, n_panels, len(others)), 3.9)
    axes = grid_of_panels(figure, len(panels), len(panels), sharex=True, sharey=True)
    for panel, name in zip(axes, panels, strict=True):
        rows = placed[placed["stimulus_set"] == name]
        _draw_positions(panel, rows[["x", "y"]].to_numpy(), in_order(rows["model"]), model_cards)
        describe_points(
            panel, rows["x"], rows["y"], network_columns(rows["model"], model_cards), stimulus_set=name
        )
        stress = f"stress {rows['stress'].iloc[0]:.2f}" if len(rows) else "no map"
        panel.set_title(f"{MEAN_PANEL if name == MEAN else shortened(name, 28)}\n{stress}", fontsize=8.5)
        panel.set_xlabel("first axis (dissimilarity)")
    axes[0].set_ylabel("second axis (dissimilarity)")
    _add_position_legend(figure, model_cards, in_order(placed["model"]))
    return figure


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
    make_square(axes)
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
    handles += architecture_handles(model_cards, models)
    add_legend(figure, handles, len(handles))


def architecture_handles(model_cards: pd.DataFrame, models: Iterable[str]) -> list[Line2D]:
    """Return legend entries that say which architecture is filled and which are hollow.

    Args:
        model_cards: Give the filled architecture, the same in every figure.
        models: The networks that are drawn; only their architectures are named.
    """
    first, architecture = filled_architecture(model_cards), trait_of(model_cards, "architecture")
    names = {architecture.get(model, UNKNOWN) for model in models}
    groups = ((sorted(names & {first}), INK), (sorted(names - {first}), "#ffffff"))
    named = [
        (names_in_lines(group), face)
        for group, face in groups
        if group and len(set(architecture.values())) > 1
    ]
    return [
        Line2D([], [], linestyle="none", marker="o", markersize=7, markerfacecolor=face, markeredgecolor=INK,
               label=label)
        for label, face in named
    ]  # fmt: skip
