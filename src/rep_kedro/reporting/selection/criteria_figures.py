"""Can networks be chosen without labels? RankMe against accuracy, RankMe on other images, and the regret."""

import math
from collections.abc import Iterable
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from rep_kedro.datasets.marks import describe_points
from rep_kedro.reporting.names import drawn, shortened, written
from rep_kedro.reporting.panels import panels_of_sets
from rep_kedro.reporting.style import (
    MUTED,
    Palette,
    add_legend,
    grid_of_panels,
    plot_note,
    start_figure,
    start_panels,
    styled,
    title_of_part,
    write_percents,
)
from rep_kedro.reporting.tables import (
    in_order,
    network_columns,
    objectives_in_order,
    palette_of,
    trait_of,
    with_traits,
)
from rep_kedro.reporting.texts import figure_texts

RANK_TITLE = figure_texts("rank_choice")["title"]
TRANSFER_TITLE = figure_texts("rank_transfer")["title"]
REGRET_TITLE = figure_texts("selection_regret")["title"]
CRITERION = "rankme"
FEWEST = 5  # networks of a method; fewer show no relation
MOST_PANELS, MOST_ROWS = 6, 16
ALL_METHODS = {"all": "all methods"}
_N_COLUMNS = 3
NOT_TRAINED_HERE = "no network was trained on a stimulus set on which its RankMe was measured"


def own_ranks(label_free_measures: pd.DataFrame, model_cards: pd.DataFrame) -> pd.DataFrame:
    """Return RankMe of each network by stimulus set, with that on the set on which it was trained (`own`)."""
    ranks = label_free_measures[
        (label_free_measures["measure"] == CRITERION) & (label_free_measures["space"] == "representation")
    ]
    ranks = ranks[["stimulus_set", "model", "value"]].dropna().rename(columns={"value": "rank"})
    trained_on = ranks["model"].map(trait_of(model_cards, "trained_on"))
    own = ranks[ranks["stimulus_set"] == trained_on].set_index("model")["rank"]
    joined = ranks.assign(own=ranks["model"].map(own), trained_on=trained_on).dropna(subset=["own"])
    return with_traits(joined[(joined["own"] > 0) & (joined["rank"] > 0)], model_cards)


def plot_rank_choice(
    label_free_measures: pd.DataFrame, probe_results: pd.DataFrame, model_cards: pd.DataFrame
) -> Figure:
    """Draw probe accuracy against log2 of RankMe on the training images, with a line for each method.

    Returns:
        One panel per stimulus set, one mark per network that was trained on one of the stimulus sets.
    """
    final = probe_results[probe_results["is_final"].astype(bool)]
    joined = own_ranks(label_free_measures, model_cards).merge(
        final[["stimulus_set", "model", "test_accuracy"]].dropna(), on=["stimulus_set", "model"]
    )
    if not len(joined):
        return plot_note(RANK_TITLE, NOT_TRAINED_HERE)
    return _plot_ranks(joined, model_cards, "test_accuracy", RANK_TITLE)


def plot_rank_transfer(label_free_measures: pd.DataFrame, model_cards: pd.DataFrame) -> Figure:
    """Draw RankMe on other stimulus sets against that on the training images, both as log2.

    Returns:
        One panel per stimulus set, one mark per network that was trained on another one; equal ranks are on
        the dashed line.
    """
    joined = own_ranks(label_free_measures, model_cards)
    joined = joined[joined["stimulus_set"] != joined["trained_on"]]
    if not len(joined):
        return plot_note(TRANSFER_TITLE, f"{NOT_TRAINED_HERE} and on another one")
    return _plot_ranks(joined, model_cards, "rank", TRANSFER_TITLE)


@styled
def _plot_ranks(joined: pd.DataFrame, model_cards: pd.DataFrame, y: str, title: str) -> Figure:
    palette = palette_of(model_cards)
    names, title = panels_of_sets(in_order(joined["stimulus_set"]), title, MOST_PANELS)
    figure, axes = start_panels(
        title, len(names), min(_N_COLUMNS, len(names)), row_in=3.0, around_in=1.1, sharey=y != "rank"
    )
    for index, (panel, name) in enumerate(zip(axes, names, strict=True)):
        rows = joined[joined["stimulus_set"] == name]
        _draw_methods(panel, rows, y, palette)
        columns = {
            **network_columns(rows["model"], model_cards),
            "RankMe on training images": rows["own"],
            {"rank": "RankMe here"}.get(y, "test accuracy"): rows[y],
        }
        describe_points(panel, rows["own"], rows[y], columns, stimulus_set=name)
        panel.set_title(f"{shortened(name, 28)} (n = {len(rows)})")
        write_octaves(panel, "x", rows["own"])
        if y == "rank":
            write_octaves(panel, "y", rows["rank"])
            ends = [rows[["own", "rank"]].min().max(), rows[["own", "rank"]].max().min()]
            panel.plot(ends, ends, color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)), zorder=0)
        panel.set_xlabel("RankMe on training images (dimensions)")
        if index % _N_COLUMNS == 0:
            panel.set_ylabel("RankMe on these images" if y == "rank" else "probe accuracy on test images (%)")
    if y != "rank":
        write_percents(axes[0].yaxis)
    _add_legend(figure, joined, palette)
    return figure


def _draw_methods(panel: Axes, rows: pd.DataFrame, y: str, palette: Palette) -> None:
    """Draw the marks of each method, and a least-squares line through log2 where there are enough."""
    for objective, part in rows.groupby("objective", sort=True):
        colour = palette.colour(str(objective))
        panel.plot(
            part["own"], part[y], linestyle="none", marker=palette.marker(str(objective)), color=colour,
            markersize=6.5, alpha=0.85,
        )  # fmt: skip
        x = np.log2(part["own"].to_numpy(float))
        if len(part) < FEWEST or np.ptp(x) == 0:
            continue
        values = np.log2(part[y].to_numpy(float)) if y == "rank" else part[y].to_numpy(float)
        slope, level = np.polyfit(x, values, 1)
        ends = np.linspace(x.min(), x.max(), 2)
        fitted = level + slope * ends
        panel.plot(2**ends, 2**fitted if y == "rank" else fitted, color=colour, linewidth=1.3, alpha=0.9)


def write_octaves(panel: Axes, which: Literal["x", "y"], values: Iterable[float]) -> None:
    """Make an axis logarithmic with powers of two as ticks, or the ends where it spans fewer than two."""
    known = np.asarray(list(values), float)
    low, high = known.min() / 1.12, known.max() * 1.12
    octaves = [2.0**n for n in range(math.ceil(math.log2(low)), math.floor(math.log2(high)) + 1)]
    octaves = octaves[:: math.ceil(len(octaves) / 8) or 1]
    if len(octaves) < 2:
        octaves = [float(f"{known.min():.2g}"), float(f"{known.max():.2g}")]
    panel.set(**{f"{which}scale": "log", f"{which}lim": (low, high)})
    axis = panel.xaxis if which == "x" else panel.yaxis
    axis.set_major_locator(FixedLocator(sorted(set(octaves))))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _add_legend(figure: Figure, joined: pd.DataFrame, palette: Palette) -> None:
    handles = palette.legend_handles(objectives_in_order(joined["objective"]))
    if joined.groupby(["stimulus_set", "objective"]).size().min() < FEWEST:
        words = f"no line: fewer than {FEWEST} networks of the method"
        handles.append(Line2D([], [], linestyle="none", label=words))
    add_legend(figure, handles, 6)


def shown_regrets(selection_regret: pd.DataFrame) -> pd.DataFrame:
    """Return the sweeps of networks trained here, decided by RankMe on the probed images."""
    rows = selection_regret[
        (selection_regret["source"] == "study")
        & (selection_regret["criterion"] == CRITERION)
        & (selection_regret["space"] == "representation")
        & (selection_regret["criterion_set"] == selection_regret["performance"])
    ]
    return rows.sort_values(["performance", "axis", "n_runs"], kind="stable")


def plot_selection_regret(selection_regret: pd.DataFrame) -> Figure:
    """Draw what is lost by taking the network with the highest RankMe, by method and swept setting.

    Returns:
        One panel per stimulus set, a row per method and setting, lines are intervals; hollow marks have fewer
        than :data:`FEWEST` networks.
    """
    rows = shown_regrets(selection_regret)
    if not len(rows):
        return plot_note(REGRET_TITLE, "no method has three networks with RankMe and a probe")
    words = {"all": "all networks"}
    labels = [
        f"{ALL_METHODS.get(group, written(group))}: {words.get(axis, axis)}"
        for group, axis in zip(rows["group"], rows["axis"], strict=True)
    ]
    return _plot_regrets(rows.assign(label=labels))


@styled
def _plot_regrets(rows: pd.DataFrame) -> Figure:
    names, title = panels_of_sets(in_order(rows["performance"]), REGRET_TITLE, _N_COLUMNS)
    labels = in_order(rows["label"])
    title = title_of_part(title, MOST_ROWS, len(labels), "methods and settings")
    labels = labels[:MOST_ROWS]
    figure = start_figure(title, 1.4 + 0.3 * len(labels))
    axes = grid_of_panels(figure, len(names), len(names), sharey=True)
    for panel, name in zip(axes, names, strict=True):
        part = rows[(rows["performance"] == name) & rows["label"].isin(labels)]
        heights = np.array([labels.index(label) for label in part["label"]])
        panel.hlines(heights, 100 * part["regret_low"], 100 * part["regret_high"], color=MUTED, linewidth=1.2)
        for is_few, face in ((False, "#0b7fb8"), (True, "#ffffff")):
            own = ((part["n_runs"] < FEWEST) == is_few).to_numpy()
            panel.plot(
                100 * part["regret"][own], heights[own], linestyle="none", marker="o", markersize=6,
                markerfacecolor=face, markeredgecolor="#0b7fb8",
            )  # fmt: skip
        columns = {
            **{"method": part["group"], "setting": part["axis"], "networks": part["n_runs"]},
            **{"chosen": part["chosen_run"], "best": part["best_run"], "regret": part["regret"]},
        }
        describe_points(panel, 100 * part["regret"], heights, columns, stimulus_set=name)
        panel.set_title(shortened(name, 28))
        panel.set_xlabel("regret (% points)")
        panel.set_xlim(left=-0.02 * max(1.0, 100 * float(part["regret_high"].fillna(part["regret"]).max())))
        panel.set_yticks(range(len(labels)), [drawn(shortened(label, 30)) for label in labels])
        panel.set_ylim(len(labels) - 0.5, -0.5)
    if (rows["n_runs"] < FEWEST).any():
        words = f"fewer than {FEWEST} networks"
        few = Line2D([], [], linestyle="none", marker="o", markerfacecolor="#ffffff", label=words)
        few.set_markeredgecolor("#0b7fb8")
        add_legend(figure, [few], 1)
    return figure
