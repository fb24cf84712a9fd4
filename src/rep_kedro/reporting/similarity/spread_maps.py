"""Mean and standard deviation over the stimulus sets of each pair of networks, as heat maps."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from rep_kedro.datasets.marks import describe_map
from rep_kedro.reporting.names import shortened
from rep_kedro.reporting.pairs import mean_and_spread, pairs_by_set, square
from rep_kedro.reporting.similarity.heat_maps import (
    add_strip_legend,
    colour_limits,
    draw_map,
    draw_strips,
    label_networks,
)
from rep_kedro.reporting.style import COLOUR_MAP, UNKNOWN, grid_of_panels, plot_note, start_figure, styled
from rep_kedro.reporting.tables import cluster_order, in_order, palette_of, trait_of
from rep_kedro.reporting.texts import figure_texts

TITLE = figure_texts("mean_and_std_maps")["title"]
SIDE_IN = 3.7  # of a map, about
WORDS = {"mean": "mean similarity", "std": "standard deviation"}
COLOURS = {"mean": COLOUR_MAP, "std": "magma"}


def plot_mean_and_std_maps(similarities: pd.DataFrame, model_cards: pd.DataFrame, *, measure: str) -> Figure:
    """Draw mean and standard deviation over the stimulus sets as heat maps, networks in one order.

    Returns:
        Two panels; rows and columns in the order of average-linkage clustering of 1 - mean similarity.
    """
    wide = pairs_by_set(similarities)
    if wide.shape[1] < 2:
        return plot_note(TITLE, "a spread over stimulus sets needs at least two of them")
    moments = mean_and_spread(wide)
    if not len(moments):
        return plot_note(TITLE, f"no pair of networks has a similarity ({measure}) on every stimulus set")
    models = in_order([*similarities["model_a"], *similarities["model_b"]])
    frames = {name: square(moments[name], models) for name in ("mean", "std")}
    return _plot(frames, model_cards, measure)


@styled
def _plot(frames: dict[str, pd.DataFrame], model_cards: pd.DataFrame, measure: str) -> Figure:
    objective = trait_of(model_cards, "objective")
    palette = palette_of(model_cards)
    order = cluster_order(frames["mean"])
    objectives = [objective.get(model, UNKNOWN) for model in order]
    figure = start_figure(TITLE, 5.6)
    panels = grid_of_panels(figure, 2, 2)
    labels = {
        "mean": f"mean similarity ({shortened(measure, 36)}), no unit",
        "std": "standard deviation over stimulus sets, no unit",
    }
    for panel, (name, frame) in zip(panels, frames.items(), strict=True):
        limits = colour_limits([frame]) if name == "mean" else (0.0, float(np.nanmax(frame)) or 1.0)
        shown = frame.loc[order, order]
        image = draw_map(panel, shown, limits, COLOURS[name], has_diagonal=False)
        describe_map(panel, shown, WORDS[name], measure=measure)
        draw_strips(panel, [palette.colour(name) for name in objectives])
        label_networks(panel, order, side_in=SIDE_IN, with_names=name == "mean")
        bar = figure.colorbar(image, ax=panel, location="bottom", shrink=0.8, aspect=32, label=labels[name])
        bar.solids.set_rasterized(True)  # type: ignore[union-attr]
        bar.outline.set_visible(False)
    off_diagonal = ~np.eye(len(order), dtype=bool)
    has_undefined = bool(frames["mean"].isna().to_numpy()[off_diagonal].any())
    add_strip_legend(figure, objectives, palette, has_undefined=has_undefined)
    return figure
