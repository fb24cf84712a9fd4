"""Where does each layer have its best match? Its depth in the other networks, layer by layer."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rep_kedro.datasets.marks import describe_points
from rep_kedro.kernels.statistics.families import LEVEL
from rep_kedro.reporting.names import shortened
from rep_kedro.reporting.style import (
    INK,
    MANY_POINTS,
    MUTED,
    PAPER,
    UNKNOWN,
    Palette,
    add_legend,
    grid_of_panels,
    label_layers,
    plot_note,
    start_figure,
    styled,
)
from rep_kedro.reporting.tables import (
    chosen_stimulus_set,
    in_order,
    layers_in_order,
    objectives_in_order,
    palette_of,
    trait_of,
)
from rep_kedro.reporting.texts import figure_texts

TITLE = figure_texts("best_layer_match")["title"]
N_COLUMNS, MOST_PANELS = 3, 6
FAINT, FAINTEST, FAINT_IN_ALL = 0.3, 0.04, 6  # opacity of an unmarked path: of few, at least, of all
MOST_MARKED = 8  # other networks with a marked path each; of more, objectives have one
OFFSET, MOST_OFFSET = 0.03, 0.15  # between equal paths, and of all of them, in units of depth


def plot_best_layer_match(
    best_layer_match: pd.DataFrame,
    model_cards: pd.DataFrame,
    *,
    measure: str,
    stimulus_set: str | None,
) -> Figure:
    """Draw at which depth of the other networks each layer has its best match.

    Returns:
        A panel per network, a line per other network in the colour of its objective. Depth is relative: 0 is
        the first layer that is compared, 1 the last. Filled marks: the match exceeds chance.
    """
    stimulus_set = chosen_stimulus_set(stimulus_set, best_layer_match)
    rows = best_layer_match[best_layer_match["stimulus_set"] == stimulus_set]
    rows = rows.dropna(subset=["best_depth", "similarity"])
    if not len(rows):
        return plot_note(TITLE, f"no layers of two networks were compared under the measure {measure!r}")
    return _plot_paths(rows, model_cards, str(stimulus_set))


@styled
def _plot_paths(rows: pd.DataFrame, model_cards: pd.DataFrame, stimulus_set: str) -> Figure:
    palette, objective = palette_of(model_cards), trait_of(model_cards, "objective")
    models = in_order(rows["model"])
    shown = models[:MOST_PANELS]
    n_columns = min(N_COLUMNS, len(shown))
    cut = f"; {len(shown)} of {len(models)} networks" if len(shown) < len(models) else ""
    figure = start_figure(
        f"{TITLE} ({shortened(stimulus_set, 30)}{cut})", 1.1 + 2.8 * -(-len(shown) // n_columns)
    )
    is_crowded = int(rows["model"].isin(shown).sum()) > MANY_POINTS
    for place, panel in enumerate(grid_of_panels(figure, len(shown), n_columns, sharey=True)):
        own = rows[rows["model"] == shown[place]]
        layers = layers_in_order(own)
        panel.plot([0, len(layers) - 1], [0, 1], color=MUTED, linewidth=1, linestyle=":", zorder=0)
        _draw_network(panel, own, layers, objective, palette, rasterized=is_crowded)
        _describe_matches(panel, own, layers)
        label_layers(panel, layers, 8)
        panel.set_title(shortened(shown[place], 34))
        panel.set_ylim(-0.1 - MOST_OFFSET / 2, 1.1 + MOST_OFFSET / 2)
        panel.set_yticks([0, 0.5, 1])
        if place % n_columns == 0:
            panel.set_ylabel("depth of best match")
        if place == 0:
            panel.set_xlabel("layer, input to output →", loc="left", fontsize=8)
    others = objectives_in_order(objective.get(name, UNKNOWN) for name in in_order(rows["other_model"]))
    add_legend(
        figure, [*palette.legend_handles(others), *_reading_handles()], len(others) + 3,
        title="objective of the other network", alignment="left",
    )  # fmt: skip
    return figure


def _describe_matches(axes: Axes, own: pd.DataFrame, layers: Sequence[str]) -> None:
    """Say which layer each match is, at its place without the offset between paths."""
    if len(own) > MANY_POINTS:
        return
    columns = {
        "network": own["model"],
        "layer": own["layer"],
        "other network": own["other_model"],
        "best match": own["best_layer"],
        "similarity": own["similarity"],
        "interval low": own["similarity_low"],
        "interval high": own["similarity_high"],
        "corrected p": own["p_adjusted"],
    }
    depths = own["best_depth"].astype("float64") / own["deepest"].astype("float64").clip(lower=1)
    describe_points(axes, [layers.index(str(layer)) for layer in own["layer"]], depths, columns)


def _draw_network(
    axes: Axes,
    own: pd.DataFrame,
    layers: Sequence[str],
    objective: dict[str, str],
    palette: Palette,
    *,
    rasterized: bool,
) -> None:
    """Draw the paths of one network through the others; of many networks, highlight each objective's mean."""
    own = own.assign(
        place=[layers.index(str(layer)) for layer in own["layer"]],
        depth_of_match=own["best_depth"].astype("float64") / own["deepest"].astype("float64").clip(lower=1),
        is_above=own["p_adjusted"] <= LEVEL,
        kind=[objective.get(other, UNKNOWN) for other in own["other_model"]],
    )
    others = in_order(own["other_model"])
    groups = [(part["kind"].iloc[0], part) for _, part in own.groupby("other_model", sort=False)]
    if len(others) > MOST_MARKED:
        faint = min(FAINT, max(FAINTEST, FAINT_IN_ALL / len(others)))
        for name, part in groups:
            axes.plot(
                part["place"], part["depth_of_match"], color=palette.colour(name), linewidth=0.5, alpha=faint,
                rasterized=rasterized,
            )  # fmt: skip
        groups = [(name, own[own["kind"] == name]) for name in objectives_in_order(own["kind"])]
    step = min(OFFSET, MOST_OFFSET / len(groups))
    for index, (name, part) in enumerate(groups):
        means = part.groupby("place").agg({"depth_of_match": "mean", "is_above": "all"})
        x, y = means.index.to_numpy(), means["depth_of_match"] + step * (index - (len(groups) - 1) / 2)
        is_above, colour = means["is_above"].to_numpy(dtype=bool), palette.colour(name)
        axes.plot(x, y, color=colour, linewidth=1.4, alpha=0.8)
        for chosen, face in ((is_above, colour), (~is_above, PAPER)):
            axes.plot(
                x[chosen], y[chosen], linestyle="none", marker=palette.marker(name), markersize=5,
                markerfacecolor=face, markeredgecolor=colour, markeredgewidth=1,
            )  # fmt: skip


def _reading_handles() -> list[Line2D]:
    filled, hollow = (
        Line2D(
            [], [], linestyle="none", marker="o", markersize=5, color=INK, markerfacecolor=face, label=label
        )
        for face, label in ((INK, f"exceeds chance (p ≤ {LEVEL}, corrected)"), (PAPER, "not shown to"))
    )
    return [
        filled,
        hollow,
        Line2D([], [], color=MUTED, linewidth=1, linestyle=":", label="same relative depth"),
    ]
